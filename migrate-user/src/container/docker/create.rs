//! Creating containers: a replica of one that runs elsewhere, and one that runs a single program.

use super::supported::COPIED;
use super::{Docker, DockerError, Spec, http};
use serde_json::{Map, Value, json};

/// A program to run by itself: no network, no input, output kept byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Docker makes one up if none.
    pub name: Option<String>,
    /// Name or id; it must be on this host.
    pub image: String,
    /// Empty: the image's own.
    pub cmd: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// The name that Docker knows the runtime by.
    pub runtime: String,
    /// None: Docker takes the container's id.
    pub hostname: Option<String>,
    pub labels: Vec<(String, String)>,
}

impl Docker {
    /// Creates the container that `spec` describes, with its name, runtime, address and MAC address, and returns its id. It is
    /// not started. The image and a network of the same name must be here; `labels` are added.
    pub async fn create_replica(&self, spec: &Spec, labels: &[(String, String)]) -> Result<String, DockerError> {
        let image = self.image_reference(spec).await?;
        let body = replica(spec, &image, labels, self.mac_in_attachment());
        self.create(Some(&spec.name), &body).await
    }

    /// Creates a container for one program and returns its id. It is not started.
    pub async fn create_program(&self, program: &Program) -> Result<String, DockerError> {
        self.create(program.name.as_deref(), &alone(program)).await
    }

    async fn create(&self, name: Option<&str>, body: &Value) -> Result<String, DockerError> {
        let query = name.map(|name| format!("?name={}", http::path_segment(name))).unwrap_or_default();
        let what = name.unwrap_or("a container");
        let text = self.post(&format!("/containers/create{query}"), body.to_string().into_bytes(), "create", what).await?;
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        match answer["Id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(DockerError::Missing { what: what.into(), field: "Id" }),
        }
    }

    /// The name that the source's container was created by, if it means the same image here; otherwise the id. A name that
    /// means nothing here is given to the image, as `docker load` does.
    async fn image_reference(&self, spec: &Spec) -> Result<String, DockerError> {
        let name = spec.config.0["Image"].as_str().unwrap_or_default();
        if name.is_empty() || name.contains('@') || spec.image_id.contains(name) {
            return Ok(spec.image_id.clone());
        }
        let here = match self.image_id(name).await? {
            None => {
                self.image_tag(&spec.image_id, name).await?;
                spec.image_id.clone()
            }
            Some(here) => here,
        };
        Ok(if here == spec.image_id { name.to_owned() } else { spec.image_id.clone() })
    }
}

fn replica(spec: &Spec, image: &str, labels: &[(String, String)], mac_in_attachment: bool) -> Value {
    let mut body = spec.config.0.clone();
    body["Image"] = image.into();
    for stream in ["AttachStdin", "AttachStdout", "AttachStderr"] {
        body[stream] = false.into();
    }
    if body["Entrypoint"].as_array().is_none_or(Vec::is_empty) {
        // None would mean the image's own; this is how Docker is told that there is none.
        body["Entrypoint"] = json!([""]);
    }
    if !labels.is_empty() && !body["Labels"].is_object() {
        body["Labels"] = json!({});
    }
    for (name, value) in labels {
        body["Labels"][name] = value.as_str().into();
    }
    let host = spec.host.0.as_object().into_iter().flatten().filter(|(key, _)| COPIED.contains(&key.as_str()));
    body["HostConfig"] = Value::Object(host.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>());

    if let Some(attachment) = spec.networks.first() {
        let mut endpoint = json!({"Aliases": attachment.aliases});
        if let Some(ip) = &attachment.ip {
            endpoint["IPAMConfig"] = json!({"IPv4Address": ip});
        }
        if let Some(mac) = &attachment.mac {
            if mac_in_attachment {
                endpoint["MacAddress"] = mac.as_str().into();
            } else {
                body["MacAddress"] = mac.as_str().into();
            }
        }
        body["HostConfig"]["NetworkMode"] = attachment.network.as_str().into();
        body["NetworkingConfig"] = json!({"EndpointsConfig": {&attachment.network: endpoint}});
    }
    body
}

fn alone(program: &Program) -> Value {
    let labels: Map<_, _> = program.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let mut body = json!({
        "Image": program.image,
        "Env": program.env,
        "Labels": labels,
        "NetworkDisabled": true,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Runtime": program.runtime,
            "NetworkMode": "none",
            // Unlike json-file it keeps bytes that are not UTF-8, and this much of them.
            "LogConfig": {"Type": "local", "Config": {"max-size": "4g", "max-file": "1", "compress": "false"}},
        },
    });
    if !program.cmd.is_empty() {
        body["Cmd"] = json!(program.cmd);
    }
    if let Some(hostname) = &program.hostname {
        body["Hostname"] = hostname.as_str().into();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::{Attachment, Json};
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "web".into(),
            image_id: "sha256:aa".into(),
            config: Json(json!({"Hostname": "4f1c", "Cmd": ["x"], "Entrypoint": null, "AttachStdout": true, "Labels": null})),
            host: Json(json!({"Memory": 1000, "Runtime": "migrate", "Binds": ["/a:/b"], "NetworkMode": "lab"})),
            networks: vec![Attachment {
                network: "lab".into(),
                ip: Some("10.77.0.5".into()),
                mac: Some("02:42:0a:4d:00:05".into()),
                ..Attachment::default()
            }],
            ..Spec::default()
        }
    }

    #[test]
    fn a_replica_has_the_source_s_name_address_and_limits() {
        let body = replica(&spec(), "web:1", &[("migrate.of".into(), "4f".into())], false);
        assert_eq!(
            (&body["Image"], &body["Hostname"], &body["MacAddress"]),
            (&json!("web:1"), &json!("4f1c"), &json!("02:42:0a:4d:00:05"))
        );
        assert_eq!(body["HostConfig"], json!({"Memory": 1000, "Runtime": "migrate", "NetworkMode": "lab"}));
        assert_eq!(body["NetworkingConfig"]["EndpointsConfig"]["lab"]["IPAMConfig"]["IPv4Address"], "10.77.0.5");
        assert_eq!((&body["Entrypoint"], &body["AttachStdout"]), (&json!([""]), &json!(false)));
        assert_eq!(body["Labels"], json!({"migrate.of": "4f"}));
    }

    #[test]
    fn a_newer_docker_gets_the_mac_address_where_it_looks_for_it() {
        let body = replica(&spec(), "web:1", &[], true);
        assert_eq!(body["MacAddress"], Value::Null);
        assert_eq!(body["NetworkingConfig"]["EndpointsConfig"]["lab"]["MacAddress"], "02:42:0a:4d:00:05");
    }
}
