//! What is needed to create a container once more, elsewhere.

use super::{DockerError, Inspected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// JSON of Docker's, kept as it is. On wires that do not describe themselves it travels as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json(pub Value);

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { self.0.serialize(to) } else { self.0.to_string().serialize(to) }
    }
}

impl<'a> Deserialize<'a> for Json {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Value::deserialize(from).map(Self);
        }
        let text = String::deserialize(from)?;
        serde_json::from_str(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// A container's configuration, as its Docker told it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub id: String,
    /// Without Docker's leading slash.
    pub name: String,
    /// `sha256:…`: the same image has the same id on every host.
    pub image_id: String,
    /// Names that the image has on the source, `name:tag`.
    pub image_names: Vec<String>,
    /// The storage driver, `overlay2`.
    pub storage_driver: String,
    /// Docker's `Config`: command, environment, user, labels …
    pub config: Json,
    /// Docker's `HostConfig`: limits, capabilities, runtime …
    pub host: Json,
    pub networks: Vec<Attachment>,
    /// Where volumes and bind mounts are mounted, in the container.
    pub volumes: Vec<String>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name, which the target's network must have too.
    pub network: String,
    pub driver: String,
    pub ip: Option<String>,
    /// Set where it has an IPv6 address.
    pub ip6: Option<String>,
    pub mac: Option<String>,
    pub aliases: Vec<String>,
}

impl Spec {
    /// What an agent must know of the container: a label, or an environment variable, or an OCI annotation.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.config.0["Labels"][name].as_str() {
            return Some(value);
        }
        if let Some(value) = self.host.0["Annotations"][name].as_str() {
            return Some(value);
        }
        let env = self.config.0["Env"].as_array()?;
        env.iter().filter_map(Value::as_str).find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// The command line that Docker runs.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let list = |name: &str| self.config.0[name].as_array().cloned().unwrap_or_default();
        list("Entrypoint").into_iter().chain(list("Cmd")).filter_map(|word| word.as_str().map(str::to_owned)).collect()
    }

    /// The name that its Docker knows its runtime by.
    #[must_use]
    pub fn runtime(&self) -> &str {
        self.host.0["Runtime"].as_str().unwrap_or_default()
    }
}

/// Reads the answer to `GET /containers/NAME/json`. Networks' drivers and the image's names are not in it.
pub(super) fn parse(container: &str, text: &[u8]) -> Result<Inspected, DockerError> {
    let json: Value = serde_json::from_slice(text)
        .map_err(|error| DockerError::Unexpected { what: container.into(), why: error.to_string() })?;
    let missing = |field| DockerError::Missing { what: container.into(), field };
    let need = |path: &str, field| json.pointer(path).and_then(Value::as_str).ok_or_else(|| missing(field));
    let id = need("/Id", "Id")?.to_owned();
    let state = &json["State"];
    let status = need("/State/Status", "State.Status")?;

    let networks = json["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    let networks = networks.filter(|(name, _)| *name != "none").map(|(name, given)| attachment(&id, name, given)).collect();
    let mounts = json["Mounts"].as_array().into_iter().flatten();
    let volumes = mounts.filter(|mount| mount["Type"] != "tmpfs").map(|mount| text_of(&mount["Destination"])).collect();
    let storage_driver = text_of(&json["GraphDriver"]["Name"]);
    let upper = match storage_driver.as_str() {
        "overlay2" => json["GraphDriver"]["Data"]["UpperDir"].as_str().map(Into::into),
        _ => None,
    };
    let spec = Spec {
        name: need("/Name", "Name")?.trim_start_matches('/').to_owned(),
        image_id: need("/Image", "Image")?.to_owned(),
        image_names: Vec::new(),
        storage_driver,
        config: Json(json["Config"].clone()),
        host: Json(json["HostConfig"].clone()),
        networks,
        volumes,
        id,
    };
    for (field, value) in [("Config", &spec.config), ("HostConfig", &spec.host)] {
        if !value.0.is_object() {
            return Err(missing(field));
        }
    }
    Ok(Inspected {
        spec,
        running: matches!(status, "running" | "paused" | "restarting"),
        pid: state["Pid"].as_i64().and_then(|pid| pid.try_into().ok()).unwrap_or(0),
        exit_code: state["ExitCode"].as_i64().unwrap_or(0),
        upper,
    })
}

fn attachment(id: &str, name: &str, given: &Value) -> Attachment {
    let some = |value: &Value| Some(text_of(value)).filter(|text| !text.is_empty());
    let aliases = given["Aliases"].as_array().into_iter().flatten().map(text_of);
    Attachment {
        network: name.to_owned(),
        driver: String::new(),
        // Before it is started only the wish is known.
        ip: some(&given["IPAddress"]).or_else(|| some(&given["IPAMConfig"]["IPv4Address"])),
        ip6: some(&given["GlobalIPv6Address"]).or_else(|| some(&given["IPAMConfig"]["IPv6Address"])),
        mac: some(&given["MacAddress"]),
        // Docker adds the short id by itself, of the new container too.
        aliases: aliases.filter(|alias| alias.len() != 12 || !id.starts_with(alias)).collect(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer() -> Vec<u8> {
        json!({
            "Id": "4f1c8a9b0d1e2f", "Name": "/web", "Image": "sha256:aa",
            "State": {"Status": "running", "Pid": 77, "ExitCode": 0},
            "GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": "/v/overlay2/x/diff"}},
            "Config": {"Cmd": ["-c", "ls"], "Entrypoint": ["sh"], "Env": ["A=1", "migrate.exec=allow"], "Labels": {}},
            "HostConfig": {"Runtime": "migrate", "NewThing": {"a": 1}},
            "Mounts": [{"Type": "volume", "Destination": "/data"}, {"Type": "tmpfs", "Destination": "/tmp"}],
            "NetworkSettings": {"Networks": {"lab": {
                "IPAMConfig": {"IPv4Address": "10.77.0.50"}, "IPAddress": "10.77.0.50", "MacAddress": "02:42:0a:4d:00:32",
                "Aliases": ["www", "4f1c8a9b0d1e"], "GlobalIPv6Address": ""}}},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn everything_needed_to_create_it_again_is_kept() {
        let found = parse("web", &answer()).unwrap();
        assert_eq!((found.running, found.pid), (true, 77));
        assert_eq!(found.upper.unwrap(), std::path::Path::new("/v/overlay2/x/diff"));
        let spec = found.spec;
        assert_eq!((spec.name.as_str(), spec.image_id.as_str(), spec.runtime()), ("web", "sha256:aa", "migrate"));
        assert_eq!(spec.command(), ["sh", "-c", "ls"]);
        assert_eq!(spec.volumes, ["/data"]);
        assert_eq!(spec.host.0["NewThing"]["a"], 1);
        assert_eq!(spec.networks[0].aliases, ["www"]);
        assert_eq!(spec.networks[0].ip.as_deref(), Some("10.77.0.50"));
        assert_eq!(spec.networks[0].ip6, None);
        assert_eq!((spec.option("migrate.exec"), spec.option("A"), spec.option("B")), (Some("allow"), Some("1"), None));
    }

    #[test]
    fn a_spec_survives_both_kinds_of_wire() {
        let spec = parse("web", &answer()).unwrap().spec;
        let bytes = postcard::to_stdvec(&spec).unwrap();
        assert_eq!(postcard::from_bytes::<Spec>(&bytes).unwrap(), spec);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
    }

    #[test]
    fn an_answer_without_what_is_needed_names_it() {
        assert!(parse("web", br#"{"Id":"4f"}"#).unwrap_err().to_string().contains("State.Status"));
        assert!(parse("web", b"<html>").unwrap_err().to_string().contains("web"));
    }
}
