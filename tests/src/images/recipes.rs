//! What each image is made of.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{lab, workloads};

use super::{
    Image, Store, debs,
    error::{Result, file},
    packages::{
        APACHE_PACKAGES, BUILD_PACKAGES, JAVA_PACKAGES, NGINX_PACKAGES, NODEJS_PACKAGES, PYTHON_PACKAGES, REDIS_PACKAGES,
    },
};

/// Raised when the way of making images changes, so that cached ones are made again.
const VERSION: u32 = 1;

const NGINX_CONF: &str = include_str!("../../workloads/nginx.conf");
const APP: &str = include_str!("../../workloads/app.py");
/// Where in the image, and what.
const LEDGERS: [(&str, &str); 3] = [
    ("app/ledger.py", include_str!("../../workloads/ledger.py")),
    ("app/sqlite.py", include_str!("../../workloads/sqlite.py")),
    ("app/threads.py", include_str!("../../workloads/threads.py")),
];
const APACHE_CONF: &str = include_str!("../../workloads/apache.conf");
const LEDGER_CGI: &str = include_str!("../../workloads/ledger.cgi");
const LEDGER_JS: &str = include_str!("../../workloads/ledger.js");
const LEDGER_JAVA: &str = include_str!("../../workloads/Ledger.java");
const COUNT: &str = include_str!("../../workloads/count.sh");
/// The build: where in the image, and what.
const BUILD: [(&str, &str); 4] = [
    ("build/top.mk", include_str!("../../workloads/build-top.mk")),
    ("build/folder.mk", include_str!("../../workloads/build-folder.mk")),
    ("build/unit.c", include_str!("../../workloads/unit.c")),
    ("build/unit.h", include_str!("../../workloads/unit.h")),
];
const BUILD_SCRIPT: &str = include_str!("../../workloads/build.sh");

/// Names that programs look up, and the unprivileged user of Debian's web servers.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";
const WWW_DATA: u32 = 33;
const REDIS: &str = "/usr/bin/redis-server";
const APACHE: &str = "/usr/sbin/apache2";
const JAVA_HOME: &str = "/usr/lib/jvm/java-17-openjdk-amd64";
const NODE: &str = "/usr/bin/node";
const JAVA: &str = "/usr/bin/java";

/// Parts of the packages that no program here reads.
const UNNEEDED: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/lib/python3.11/idlelib",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/gcc/x86_64-linux-gnu/12/plugin",
];

/// An image's ingredients.
pub(super) struct Recipe {
    packages: &'static [&'static str],
    /// Path in the image, content, mode.
    files: Vec<(&'static str, Vec<u8>, u32)>,
    /// Applied after packages and files; runs the image's program once where that proves it complete.
    finish: fn(&Path) -> Result<()>,
    /// The `config` object of the image.
    pub(super) config: Value,
}

pub(super) fn recipe(store: &Store, image: Image) -> Result<Recipe> {
    let text = |path, content: &str| (path, content.as_bytes().to_vec(), 0o644);
    let config =
        |cmd: &[&str]| json!({ "Cmd": cmd, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] });
    Ok(match image {
        Image::Busybox => Recipe {
            packages: &["busybox-static"],
            files: vec![("count.sh", COUNT.as_bytes().to_vec(), 0o755)],
            finish: install_applets,
            config: config(&["/bin/sh"]),
        },
        Image::Guests => {
            let program = fs::read(&store.guests).map_err(file("cannot read", &store.guests))?;
            let files = vec![("guests", program, 0o755)];
            Recipe { packages: &[], files, finish: |_| Ok(()), config: config(&["/guests"]) }
        }
        Image::Nginx => Recipe {
            packages: NGINX_PACKAGES,
            files: vec![text("etc/nginx/nginx.conf", NGINX_CONF), ("srv/www/file.bin", workloads::web_file(), 0o644)],
            finish: finish_nginx,
            config: config(&["/usr/sbin/nginx"]),
        },
        Image::Python => Recipe {
            packages: PYTHON_PACKAGES,
            files: [("app/app.py", APP)].into_iter().chain(LEDGERS).map(|(path, content)| text(path, content)).collect(),
            finish: finish_python,
            config: config(&["/usr/bin/python3", "/app/app.py"]),
        },
        Image::Redis => Recipe {
            packages: REDIS_PACKAGES,
            files: Vec::new(),
            finish: |rootfs| inside(rootfs, REDIS, &["--version"]),
            // Without snapshots: a child that writes one would be measured at one time and not at another.
            config: config(&[REDIS, "--save", "", "--appendonly", "no", "--protected-mode", "no"]),
        },
        Image::Apache => Recipe {
            packages: APACHE_PACKAGES,
            files: vec![
                text("etc/apache2/lab.conf", APACHE_CONF),
                ("srv/cgi-bin/ledger", LEDGER_CGI.into(), 0o755),
                ("srv/www/file.bin", workloads::web_file(), 0o644),
            ],
            finish: finish_apache,
            config: config(&[APACHE, "-f", "/etc/apache2/lab.conf", "-D", "FOREGROUND"]),
        },
        Image::Nodejs => Recipe {
            packages: NODEJS_PACKAGES,
            files: vec![text("app/ledger.js", LEDGER_JS), ("srv/www/file.bin", workloads::web_file(), 0o644)],
            finish: |rootfs| inside(rootfs, NODE, &["--check", "/app/ledger.js"]),
            config: config(&[NODE, "/app/ledger.js"]),
        },
        Image::Java => Recipe {
            packages: JAVA_PACKAGES,
            files: vec![text("app/Ledger.java", LEDGER_JAVA), ("srv/www/file.bin", workloads::web_file(), 0o644)],
            finish: finish_java,
            // The head and the body of an answer are two writes, and the second would wait for the first one's acknowledgement.
            config: config(&[JAVA, "-Dsun.net.httpserver.nodelay=true", "-cp", "/app", "Ledger"]),
        },
        Image::Build => Recipe {
            packages: BUILD_PACKAGES,
            files: BUILD
                .map(|(path, content)| text(path, content))
                .into_iter()
                .chain([("build.sh", BUILD_SCRIPT.into(), 0o755)])
                .collect(),
            finish: finish_build,
            config: config(&["/build.sh"]),
        },
    })
}

impl Recipe {
    /// Changes when the image has to be made again.
    pub(super) fn key(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (VERSION, self.packages, &self.files, self.config.to_string()).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Makes the root file system.
    pub(super) fn cook(&self, cache: &Path, rootfs: &Path) -> Result<()> {
        debs::unpack(cache, self.packages, rootfs)?;
        for unneeded in UNNEEDED.iter().map(|path| rootfs.join(path)).filter(|path| path.exists()) {
            fs::remove_dir_all(&unneeded).map_err(file("cannot remove", &unneeded))?;
        }
        for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "data", "usr/bin"] {
            folder_at(rootfs, folder, 0o755)?;
        }
        folder_at(rootfs, "tmp", 0o1777)?;
        for (path, content) in [("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/nsswitch.conf", NSSWITCH)] {
            put(rootfs, path, content.as_bytes(), 0o644)?;
        }
        for (path, content, mode) in &self.files {
            put(rootfs, path, content, *mode)?;
        }
        if self.packages.contains(&"libc6") {
            lab::run_output(Command::new("ldconfig").arg("-r").arg(rootfs))?;
        }
        (self.finish)(rootfs)
    }
}

fn install_applets(rootfs: &Path) -> Result<()> {
    let list = lab::run_output(Command::new(rootfs.join("bin/busybox")).arg("--list-full"))?;
    for applet in list.lines().filter(|applet| !applet.ends_with("/busybox")) {
        let link = rootfs.join(applet);
        if link.symlink_metadata().is_err() {
            parent(&link)?;
            symlink("/bin/busybox", &link).map_err(file("cannot link", link))?;
        }
    }
    Ok(())
}

fn finish_nginx(rootfs: &Path) -> Result<()> {
    for folder in ["var/lib/nginx", "var/log/nginx"] {
        let path = folder_at(rootfs, folder, 0o755)?;
        chown(&path, Some(WWW_DATA), Some(WWW_DATA)).map_err(file("cannot give away", path))?;
    }
    inside(rootfs, "/usr/sbin/nginx", &["-t", "-q"])?;
    // The check leaves its marks.
    for path in ["run/nginx.pid", "var/log/nginx/error.log", "var/log/nginx/access.log"].map(|path| rootfs.join(path)) {
        if path.exists() {
            fs::remove_file(&path).map_err(file("cannot remove", path))?;
        }
    }
    Ok(())
}

fn finish_python(rootfs: &Path) -> Result<()> {
    let link = rootfs.join("usr/bin/python3");
    symlink("python3.11", &link).map_err(file("cannot link", link))?;
    let python = "/usr/bin/python3";
    // As Debian does at installation, but without times in the files, which would differ from build to build.
    inside(rootfs, python, &["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/usr/lib/python3.11"])?;
    inside(rootfs, python, &["-c", "import asyncio, ctypes, hashlib, http.cookies, json, secrets, sqlite3, ssl, uuid, zlib"])
}

fn finish_apache(rootfs: &Path) -> Result<()> {
    install_applets(rootfs)?;
    folder_at(rootfs, "var/log/apache2", 0o755)?;
    let data = folder_at(rootfs, "data", 0o755)?;
    chown(&data, Some(WWW_DATA), Some(WWW_DATA)).map_err(file("cannot give away", data))?;
    for mpm in ["EVENT", "PREFORK"] {
        inside(rootfs, APACHE, &["-f", "/etc/apache2/lab.conf", "-D", mpm, "-t"])?;
    }
    // The check leaves its marks.
    let log = rootfs.join("var/log/apache2/error.log");
    if log.exists() {
        fs::remove_file(&log).map_err(file("cannot remove", log))?;
    }
    Ok(())
}

/// The runtime has the compiler, too. As for root alone it takes no notice of other users' folders.
fn finish_java(rootfs: &Path) -> Result<()> {
    let link = rootfs.join(&JAVA[1..]);
    symlink(format!("{JAVA_HOME}/bin/java"), &link).map_err(file("cannot link", link))?;
    // Its launcher finds its libraries by /proc, which is not there.
    let libraries = format!("LD_LIBRARY_PATH={JAVA_HOME}/lib");
    let java = format!("{JAVA_HOME}/bin/java");
    let compile = ["-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", "/app", "/app/Ledger.java"];
    lab::run_output(Command::new("/usr/bin/env").arg(libraries).arg("chroot").arg(rootfs).arg(java).args(compile))?;
    Ok(())
}

fn finish_build(rootfs: &Path) -> Result<()> {
    install_applets(rootfs)?;
    for tool in ["ar", "as", "ld"] {
        let link = rootfs.join("usr/bin").join(tool);
        // Before the applet of that name, if there is one.
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link).map_err(file("cannot replace", &link))?;
        }
        symlink(format!("x86_64-linux-gnu-{tool}"), &link).map_err(file("cannot link", link))?;
    }
    // Link-time optimisation, which no unit asks for, is a quarter of the compiler.
    let lto = rootfs.join("usr/lib/gcc/x86_64-linux-gnu/12/lto1");
    fs::remove_file(&lto).map_err(file("cannot remove", lto))?;
    let object = "/tmp/unit.o";
    inside(rootfs, "/usr/bin/gcc-12", &["-O1", "-ffreestanding", "-c", "-o", object, "/build/unit.c"])?;
    inside(rootfs, "/usr/bin/ld", &["-r", "-o", "/tmp/whole.o", object])?;
    for path in [object, "/tmp/whole.o"].map(|path| rootfs.join(&path[1..])) {
        fs::remove_file(&path).map_err(file("cannot remove", path))?;
    }
    inside(rootfs, "/usr/bin/make", &["--version"])
}

/// Runs a program of the image, with the image as its root.
fn inside(rootfs: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    lab::run_output(Command::new("chroot").arg(rootfs).arg(program).args(arguments))?;
    Ok(())
}

fn folder_at(rootfs: &Path, path: &str, mode: u32) -> Result<PathBuf> {
    let path = rootfs.join(path);
    fs::create_dir_all(&path).map_err(file("cannot create", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(file("cannot set the mode of", &path))?;
    Ok(path)
}

fn put(rootfs: &Path, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = rootfs.join(path);
    parent(&path)?;
    fs::write(&path, content).map_err(file("cannot write", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(file("cannot set the mode of", path))
}

fn parent(path: &Path) -> Result<()> {
    let folder = path.parent().expect("a path below the root has a parent");
    fs::create_dir_all(folder).map_err(file("cannot create", folder))
}
