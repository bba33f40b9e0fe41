//! The command line against an agent that only answers: output, exit codes, and what goes where.

use migrate::agent::api::{
    ApiError, Check, Code, ContainerInfo, ContainerState, Handler, MoveReport, Owner, Progress, RecordReport, ReplayReport,
    Request, Response, RoundReport, bind, serve,
};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Answers by the container's or file's name.
struct Fake;

impl Handler for Fake {
    async fn handle(&self, request: Request, progress: mpsc::Sender<Progress>) -> Result<Response, ApiError> {
        let fail = |code| Err(ApiError::new(code, format!("because of {code:?}")).details(["first", "second"]).remedy("do this"));
        match request {
            Request::Ps {} => Ok(Response::Containers { containers: vec![container()] }),
            Request::Move(request) => match request.container.as_str() {
                "refused" => fail(Code::Refused),
                "doubt" => fail(Code::InDoubt),
                name => {
                    let round = RoundReport { round: 0, records: 12, ..RoundReport::default() };
                    let message = "round 0: 12 records".to_owned();
                    let event = Progress { phase: "round".into(), message, round: Some(round), ..Progress::default() };
                    progress.send(event).await.unwrap();
                    let moved = !request.dry_run;
                    let name = name.to_owned();
                    Ok(Response::Move(Box::new(MoveReport { name, moved, dry_run: request.dry_run, ..MoveReport::default() })))
                }
            },
            Request::Record(request) => {
                assert!(request.out.is_absolute());
                let stdout = format!("{:?} {:?}\n", request.cmd, request.env).into_bytes();
                let report =
                    RecordReport { out: request.out, exit_code: 3, stdout, stderr: b"oops\n".into(), ..RecordReport::default() };
                Ok(Response::Record(Box::new(report)))
            }
            Request::Replay(request) if request.file.ends_with("bad") => fail(Code::BadLog),
            Request::Replay(request) => {
                let converged = !request.file.ends_with("diverging");
                let differences = if converged { vec![] } else { vec!["record 7: read".to_owned()] };
                Ok(Response::Replay(Box::new(ReplayReport { converged, differences, ..ReplayReport::default() })))
            }
            Request::Doctor { to } => Ok(Response::Checks {
                checks: vec![Check::ok("kernel", "same"), Check::fail("image", to.unwrap_or_default(), "load it")],
            }),
            Request::Resolve { .. } => Ok(Response::Ok {}),
            _ => fail(Code::Failed),
        }
    }
}

fn container() -> ContainerInfo {
    ContainerInfo {
        id: "4f1c8a9b0d1e2f".into(),
        name: "web".into(),
        image: "nginx".into(),
        pid: 7,
        state: ContainerState::Recording,
        owner: Owner::Here,
        migratable: true,
        reasons: vec![],
        records: 5,
        log_bytes: 6,
        encoded_bytes: 6,
        spool_bytes: 7,
        serial: false,
        cpu: None,
        rotations: 0,
    }
}

struct World {
    folder: tempfile::TempDir,
    _agent: tokio::runtime::Runtime,
}

impl World {
    /// `None` without root: the agent speaks to nobody else.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let agent = tokio::runtime::Runtime::new().unwrap();
        let guard = agent.enter();
        let listener = bind(&folder.path().join("agent.sock")).unwrap();
        drop(guard);
        agent.spawn(serve(listener, Arc::new(Fake)));
        Some(Self { folder, _agent: agent })
    }

    fn file(&self, name: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, "").unwrap();
        file
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.current_dir(&self.folder).env("MIGRATE_SOCKET", self.folder.path().join("agent.sock")).args(args);
        Ran::of(command)
    }
}

/// Exit code, standard output, standard error.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
    }

    fn last_json(&self) -> Value {
        serde_json::from_str(self.out.lines().last().unwrap()).unwrap()
    }
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_ends_with_what_to_do() {
    let Some(world) = World::new() else { return };
    let bad = world.file("bad");
    for (args, code) in [
        (vec!["status"], 1),
        (vec!["move", "web"], 2),
        (vec!["move", "web", "--to", "nowhere"], 2),
        (vec!["syscalls", "dance"], 2),
        (vec!["move", "refused", "--to", "h:1"], 3),
        (vec!["doctor", "--to", "h:1"], 3),
        (vec!["replay", bad.to_str().unwrap()], 5),
        (vec!["replay", "not-there"], 5),
        (vec!["log", bad.to_str().unwrap()], 5),
        (vec!["move", "doubt", "--to", "h:1"], 6),
        (vec!["--socket", "/nowhere", "ps"], 7),
    ] {
        assert_eq!(world.run(&args).code, code, "{args:?}");
    }
    let refused = world.run(&["move", "refused", "--to", "h:1"]);
    assert_eq!(refused.err, "error: because of Refused\n  - first\n  - second\nhelp: do this\n");
    assert_eq!(refused.out, "");
}

#[test]
fn with_json_the_last_line_is_the_outcome_even_of_a_failure() {
    let Some(world) = World::new() else { return };
    let moved = world.run(&["move", "web", "--to", "h:1", "--json"]);
    assert_eq!((moved.code, moved.last_json()["moved"].clone(), moved.err.as_str()), (0, Value::Bool(true), ""));
    let refused = world.run(&["move", "refused", "--to", "h:1", "--json"]);
    assert_eq!(refused.last_json()["error"]["code"], "refused");
    assert_eq!(refused.last_json()["error"]["details"][1], "second");
    let gone = world.run(&["--socket", "/nowhere", "ps", "--json"]);
    assert_eq!(gone.last_json()["error"]["code"], "no_agent");
    assert_eq!(world.run(&["ps", "--json"]).last_json()[0]["name"], "web");
}

#[test]
fn progress_goes_to_standard_error_and_the_report_to_standard_output() {
    let Some(world) = World::new() else { return };
    let moved = world.run(&["move", "web", "--to", "h:1"]);
    assert_eq!(moved.err, "round: round 0: 12 records\n");
    assert!(moved.out.contains("web moved to"), "{moved:?}");
    let dry = world.run(&["move", "web", "--to", "h:1", "--dry-run"]);
    assert!(dry.out.contains("web can be moved"), "{dry:?}");
}

#[test]
fn record_shows_the_program_s_output_as_the_program_wrote_it() {
    let Some(world) = World::new() else { return };
    let args = ["record", "--out", "f.log", "--env", "A=b", "busybox", "ls", "-l", "--json"];
    let ran = world.run(&args);
    // What follows the image is the program's, whatever it looks like.
    assert_eq!(ran.out, "[\"ls\", \"-l\", \"--json\"] [\"A=b\"]\n");
    assert!(ran.err.starts_with("oops\nrecorded 0 records"), "{ran:?}");
    assert_eq!(ran.code, 0);
}

#[test]
fn a_replay_that_diverges_says_where_and_never_converged() {
    let Some(world) = World::new() else { return };
    let (good, diverging) = (world.file("good"), world.file("diverging"));
    assert_eq!(world.run(&["replay", good.to_str().unwrap()]).code, 0);
    let ran = world.run(&["replay", diverging.to_str().unwrap()]);
    assert_eq!(ran.code, 4);
    assert!(ran.out.starts_with("diverged:") && ran.out.contains("record 7: read"), "{ran:?}");
    assert_eq!(world.run(&["replay", "--json", diverging.to_str().unwrap()]).last_json()["converged"], false);
}

#[test]
fn install_shows_before_it_changes_and_then_changes_once() {
    let Some(world) = World::new() else { return };
    let file = world.folder.path().join("daemon.json");
    std::fs::write(&file, r#"{"debug":true}"#).unwrap();
    let path = file.to_str().unwrap();
    let install = ["install", "--socket", "/s", "--program", "/opt/migrate", "--daemon-json", path];
    let shown = world.run(&install);
    assert!(shown.out.contains("+    \"migrate\": {") && shown.out.contains("--apply"), "{shown:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"debug":true}"#);

    let apply = [&install[..], &["--apply"]].concat();
    assert!(world.run(&apply).out.contains("reload docker"));
    let now: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(now["debug"], true);
    assert_eq!(now["runtimes"]["migrate"]["path"], "/opt/migrate");
    assert!(world.run(&apply).out.contains("needs no change"));

    let back = ["uninstall", "--daemon-json", path, "--apply"];
    assert_eq!(world.run(&back).code, 0);
    assert_eq!(
        serde_json::from_str::<Value>(&std::fs::read_to_string(&file).unwrap()).unwrap(),
        serde_json::json!({"debug": true})
    );
}

#[test]
fn completions_manual_and_help_are_there() {
    let Some(world) = World::new() else { return };
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.run(&["completions", shell]).out.contains("migrate"), "{shell}");
    }
    assert!(world.run(&["man"]).out.contains("SYNOPSIS"));
    assert!(world.run(&["man", "move"]).out.contains("migrate\\-move"));
    assert!(world.run(&["runtime", "--help"]).out.contains("--agent-socket"));
    assert!(world.run(&["--help"]).out.contains("Exit codes:"));
}
