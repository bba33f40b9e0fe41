//! Images: which are here, and carrying one from Docker to Docker.

use super::{Docker, DockerError, api};
use bollard::query_parameters::{ImportImageOptions, TagImageOptions};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use hyper::body::Bytes;
use std::io;

impl Docker {
    /// The id of the image that a name or id means here.
    pub async fn image_id(&self, image: &str) -> Result<Option<String>, DockerError> {
        match self.client.inspect_image(image).await.map_err(api("inspect image", image)) {
            Ok(found) => Ok(found.id),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the image with this id is here.
    pub async fn image_present(&self, id: &str) -> Result<bool, DockerError> {
        Ok(self.image_id(id).await?.is_some())
    }

    /// Gives an image a name, `name` or `name:tag`.
    pub async fn image_tag(&self, id: &str, name: &str) -> Result<(), DockerError> {
        // A colon before the last slash is a registry's port.
        let (repo, tag) = match name.rsplit_once(':') {
            Some((repo, tag)) if !tag.contains('/') => (repo, tag),
            _ => (name, "latest"),
        };
        let options = TagImageOptions { repo: Some(repo.to_owned()), tag: Some(tag.to_owned()) };
        self.client.tag_image(id, Some(options)).await.map_err(api("tag image", id))
    }

    pub(super) async fn image_names(&self, id: &str) -> Result<Vec<String>, DockerError> {
        let found = self.client.inspect_image(id).await.map_err(api("inspect image", id))?;
        Ok(found.repo_tags.unwrap_or_default())
    }

    /// The image as a tar stream, as `docker save` makes it. With its names, so that it has them on the other host too; an
    /// image without a name is saved by its id.
    pub fn image_export(&self, id: &str, names: &[String]) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let client = self.client.clone();
        let wanted = if names.is_empty() { vec![id.to_owned()] } else { names.to_vec() };
        async_stream_of(client, wanted)
    }

    /// Loads what [`Docker::image_export`] made, and checks that it gave the image with this id.
    pub async fn image_import(
        &self,
        id: &str,
        tar: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), DockerError> {
        let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
        let mut progress = self.client.import_image_stream(options, tar, None);
        while let Some(step) = progress.next().await {
            step.map_err(api("load image", id))?;
        }
        if self.image_present(id).await? {
            return Ok(());
        }
        Err(DockerError::Unexpected { what: format!("image {id}"), why: "it is not there after it was loaded".into() })
    }
}

/// The stream owns what it reads from: bollard's own borrows its arguments only while it is made.
fn async_stream_of(client: bollard::Docker, names: Vec<String>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let stream = client.export_images(&names).map_err(io::Error::other);
        futures_util::pin_mut!(stream);
        while let Some(part) = stream.next().await {
            if sender.send(part).await.is_err() {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|part| (part, receiver)) })
}
