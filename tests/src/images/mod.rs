//! Container images without a registry: Debian packages unpacked into a root file system and packed as `docker load` wants them.
//!
//! An image's id depends on its content only, so both hosts get the same id for the same image.

mod archive;
mod debs;
mod error;
mod packages;
mod recipes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::lab::{self, Host};

pub use error::{ImageError, Result};

/// The images of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Image {
    /// Debian's static busybox
    Busybox,
    /// The self-checking programs of `tests/guests`, linked statically
    Guests,
    /// Debian's nginx with two workers and a 64 KB file
    Nginx,
    /// Debian's python3 with web applications: on sqlite, and with threads
    Python,
    /// Debian's redis-server
    Redis,
    /// Debian's apache2 with two MPMs to choose from, a 64 KB file and a CGI program
    Apache,
    /// Debian's nodejs with an HTTP server
    Nodejs,
    /// Debian's openjdk-17-jre-headless, which default-jre-headless stands for, with an HTTP server
    Java,
    /// make, gcc and busybox with the sources of a kernel-like build
    Build,
}

impl Image {
    /// Those that tests need; the others are for single demos and benchmarks.
    pub const ALL: [Self; 4] = [Self::Busybox, Self::Guests, Self::Nginx, Self::Python];
    const OTHERS: [Self; 5] = [Self::Redis, Self::Apache, Self::Nodejs, Self::Java, Self::Build];

    /// Every image.
    pub fn every() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain(Self::OTHERS)
    }

    /// The name to give to `docker run`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Busybox => "lab/busybox",
            Self::Guests => "lab/guests",
            Self::Nginx => "lab/nginx",
            Self::Python => "lab/python",
            Self::Redis => "lab/redis",
            Self::Apache => "lab/apache",
            Self::Nodejs => "lab/nodejs",
            Self::Java => "lab/java",
            Self::Build => "lab/build",
        }
    }
}

/// An image ready for `docker load`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub image: Image,
    pub path: PathBuf,
    /// Docker's id of the image: `sha256:` and the digest of its configuration.
    pub id: String,
}

/// Where images are kept and what they are made from.
#[derive(Debug, Clone)]
pub struct Store {
    /// Folder for archives and downloaded packages.
    pub cache: PathBuf,
    /// The statically linked `guests` program.
    pub guests: PathBuf,
}

impl Store {
    /// The archive of an image, made when it is not there yet or its ingredients changed.
    pub fn archive(&self, image: Image) -> Result<Archive> {
        let recipe = recipes::recipe(self, image)?;
        let stem = format!("{}-{}", image.tag().replace('/', "-"), recipe.key());
        let path = self.cache.join(format!("{stem}.tar"));
        let id_file = self.cache.join(format!("{stem}.id"));
        // The id is written last, so a build that was cut short is done again.
        if let Ok(id) = fs::read_to_string(&id_file)
            && path.exists()
        {
            return Ok(Archive { image, path, id });
        }
        eprintln!("building image {}", image.tag());
        fs::create_dir_all(&self.cache).map_err(error::file("cannot create", &self.cache))?;
        let rootfs = Scratch::create(self.cache.join(format!("{stem}.root")))?;
        recipe.cook(&self.cache, &rootfs.path)?;
        let id = archive::write(&rootfs.path, &recipe.config, image.tag(), &path)?;
        fs::write(&id_file, &id).map_err(error::file("cannot write", &id_file))?;
        Ok(Archive { image, path, id })
    }

    /// Makes sure that a host has an image. Whether it had to be loaded.
    pub fn load(&self, host: &Host, image: Image) -> Result<bool> {
        let archive = self.archive(image)?;
        let present = host.docker_output(["image", "inspect", "--format", "{{.Id}}", image.tag()]);
        if present.is_ok_and(|id| id == archive.id) {
            return Ok(false);
        }
        lab::run_output(host.docker().args(["load", "--quiet", "--input"]).arg(&archive.path))?;
        Ok(true)
    }

    /// Removes an image from a host, so that a migration has to bring it. Containers that use it must be gone.
    pub fn unload(&self, host: &Host, image: Image) -> Result<()> {
        if host.docker_output(["image", "inspect", image.tag()]).is_ok() {
            host.docker_output(["image", "rm", "--force", image.tag()])?;
        }
        Ok(())
    }
}

/// A folder that is removed when it is no longer needed.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn create(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path).map_err(error::file("cannot remove", &path))?;
        }
        fs::create_dir_all(&path).map_err(error::file("cannot create", &path))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Where the images of a checkout are kept.
pub fn default_cache(target: &Path) -> PathBuf {
    target.join("lab-images")
}
