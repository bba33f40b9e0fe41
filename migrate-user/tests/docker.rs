//! Against real Docker daemons: two, so that containers and images can go from one to the other. Needs root, and
//! `MIGRATE_TEST_DOCKERS` with their sockets, separated by a colon (`cargo xtask lab up` makes two, with a network `lab` on
//! which both have 10.77.0.0/24).

use futures_util::StreamExt as _;
use migrate::container::docker::{Docker, Program, check_supported};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const IMAGE: &str = "migrate-test-busybox:1";

/// The two daemons, the first with the image.
async fn dockers() -> Option<(Docker, Docker, String)> {
    let Some(sockets) = std::env::var_os("MIGRATE_TEST_DOCKERS") else {
        eprintln!("skipped: MIGRATE_TEST_DOCKERS names no Docker sockets");
        return None;
    };
    let sockets: Vec<PathBuf> = std::env::split_paths(&sockets).collect();
    let host = format!("unix://{}", sockets[0].display());
    let (one, two) = (Docker::connect(&sockets[0]).await.unwrap(), Docker::connect(&sockets[1]).await.unwrap());
    // Once for all tests of this file: a second import would take the name away from the first one's image.
    static IMPORTED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let import = async {
        if one.image_id(IMAGE).await.unwrap().is_none() {
            let mut import =
                Command::new("docker").args(["-H", &host, "import", "-", IMAGE]).stdin(Stdio::piped()).spawn().unwrap();
            import.stdin.take().unwrap().write_all(&busybox()).unwrap();
            assert!(import.wait().unwrap().success());
        }
    };
    IMPORTED.get_or_init(|| import).await;
    Some((one, two, host))
}

/// Removes a container from all daemons, however the test ends.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        for socket in std::env::split_paths(&std::env::var_os("MIGRATE_TEST_DOCKERS").unwrap()) {
            let host = format!("unix://{}", socket.display());
            let _ = Command::new("docker").args(["-H", &host, "rm", "--force", &self.0]).output();
        }
    }
}

/// A root with a static busybox and nothing else.
fn busybox() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name("/usr/bin/busybox", "bin/busybox").unwrap();
    for name in ["sh", "cat", "true", "printf"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap()
}

fn program(script: &str) -> Program {
    let cmd = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Program { image: IMAGE.into(), cmd, env: vec!["WORD=hello".into()], runtime: "runc".into(), ..Program::default() }
}

#[tokio::test]
async fn a_program_s_output_and_exit_code_come_back_byte_for_byte() {
    let Some((docker, _, _)) = dockers().await else { return };
    let info = docker.info().await.unwrap();
    assert_eq!(info.storage_driver, "overlay2");
    assert!(info.runtimes.contains(&"runc".to_owned()), "{info:?}");

    let id = docker.create_program(&program(r"printf '\377\000%s' $WORD; echo oops >&2; exit 7")).await.unwrap();
    assert!(!docker.inspect(&id).await.unwrap().running);
    docker.start(&id).await.unwrap();
    assert_eq!(docker.wait(&id).await.unwrap(), 7);
    let output = docker.logs(&id).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (b"\xff\0hello".as_slice(), b"oops\n".as_slice()));
    assert_eq!(docker.inspect(&id).await.unwrap().exit_code, 7);
    docker.remove(&id).await.unwrap();
    docker.remove(&id).await.expect("a container that is gone is removed");
    assert!(docker.inspect(&id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_program_that_was_killed_ends_with_128_and_the_signal() {
    let Some((docker, _, _)) = dockers().await else { return };
    let id = docker.create_program(&program("while :; do :; done")).await.unwrap();
    docker.start(&id).await.unwrap();
    let found = docker.inspect(&id).await.unwrap();
    assert!(found.running && found.pid > 1);
    docker.kill(&id, "KILL").await.unwrap();
    assert_eq!(docker.wait(&id).await.unwrap(), 137);
    docker.remove(&id).await.unwrap();
}

#[tokio::test]
async fn a_container_is_created_again_on_another_host_as_it_was() {
    let Some((one, two, host)) = dockers().await else { return };
    let name = format!("migrate-test-{}", std::process::id());
    let _cleanup = Cleanup(name.clone());
    let script = "echo written > /file; read never < /dev/zero";
    let ran = Command::new("docker")
        .args(["-H", &host, "run", "-d", "--runtime", "runc", "--name", &name, "--network", "lab", "--ip", "10.77.0.77"])
        .args(["--hostname", "there", "--user", "7:8", "--workdir", "/tmp"])
        .args(["--memory", "64m", "--cap-drop", "CHOWN", "--label", "a=b", "--env", "E=1", "--tmpfs", "/scratch"])
        .args(["--restart", "on-failure:3", "--stop-signal", "INT", "--add-host", "x:1.2.3.4"])
        .args([IMAGE, "/bin/sh", "-c", script])
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let mut source = one.inspect(&name).await.unwrap();
    assert_eq!(check_supported(&source.spec), Vec::<String>::new());
    assert_eq!(source.spec.image_names, [IMAGE]);
    assert!(source.upper.as_ref().unwrap().is_dir());

    if !two.image_present(&source.spec.image_id).await.unwrap() {
        let tar = one.image_export(&source.spec.image_id, &source.spec.image_names);
        two.image_import(&source.spec.image_id, tar).await.unwrap();
    }
    // Not the one that Docker would make from the address.
    source.spec.networks[0].mac = Some("02:42:0a:4d:00:aa".into());
    let id = two.create_replica(&source.spec, &[("migrate.of".into(), source.spec.id.clone())]).await.unwrap();
    let replica = two.inspect(&id).await.unwrap();
    assert!(!replica.running);
    let (was, is) = (&source.spec, &replica.spec);
    assert_eq!((&is.name, &is.image_id, is.command(), is.runtime()), (&was.name, &was.image_id, was.command(), "runc"));
    for field in ["Hostname", "User", "Env", "WorkingDir", "StopSignal", "Image"] {
        assert_eq!(is.config.0[field], was.config.0[field], "{field}");
    }
    assert_eq!(is.option("a"), Some("b"));
    assert_eq!(is.option("migrate.of"), Some(was.id.as_str()));
    for (field, value) in was.host.0.as_object().unwrap() {
        // Nothing is null or empty, depending on who created it.
        let of = |value: &Value| if *value == json!([]) || *value == json!({}) { Value::Null } else { value.clone() };
        assert_eq!(of(&is.host.0[field]), of(value), "HostConfig.{field}");
    }
    // The source lives at this address: the replica is not started here, but its attachment is known.
    one.remove(&name).await.unwrap();
    two.start(&id).await.unwrap();
    let replica = two.inspect(&id).await.unwrap();
    assert_eq!(replica.spec.networks, source.spec.networks);
    two.remove(&id).await.unwrap();
}

#[tokio::test]
async fn an_image_that_does_not_arrive_is_an_error() {
    let Some((one, two, _)) = dockers().await else { return };
    let id = one.image_id(IMAGE).await.unwrap().unwrap();
    let wrong = format!("sha256:{}", "0".repeat(64));
    assert!(!two.image_present(&wrong).await.unwrap());
    let tar = one.image_export(&id, &[]);
    let error = two.image_import(&wrong, tar).await.unwrap_err();
    assert!(error.to_string().contains("not there after"), "{error}");
    let cut = one.image_export(&id, &[]).take(1).map(|part| part.map(|bytes| bytes.slice(..bytes.len().min(1000))));
    assert!(two.image_import(&wrong, cut).await.is_err());
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let error = Docker::connect("/nowhere/docker.sock".as_ref()).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/docker.sock"), "{error}");
}
