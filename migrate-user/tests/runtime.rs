//! The OCI runtime around the real runc, without Docker and with an agent that only answers. Needs root and runc.
//!
//! What runs in the containers is this test program itself: [`inside`], copied there with its libraries.

use migrate::agent::api::{ApiError, Code, Handler, Progress, Request, Response, Role, bind, serve};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Prints what a container can see of how it was made, a `name value` a line.
#[test]
#[ignore = "runs in the containers that the other tests make"]
fn inside() {
    println!("@personality {:#x}", nix::sys::personality::get().unwrap().bits());
    for (name, nr) in [("io_uring_setup", 425), ("io_uring_enter", 426), ("io_uring_register", 427), ("rseq", 334)] {
        // SAFETY: the calls are refused, or fail for their null pointers.
        let ret = unsafe { libc::syscall(nr, 0, 0, 0, 0, 0, 0) };
        println!("@{name} {}", if ret == -1 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 });
    }
    for (name, clock) in [("monotonic", rustix::time::ClockId::Monotonic), ("boottime", rustix::time::ClockId::Boottime)] {
        println!("@{name} {}", rustix::time::clock_gettime(clock).tv_sec);
    }
    for name in ["ipv4/conf/all/arp_ignore", "ipv6/conf/default/disable_ipv6"] {
        let value = std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap_or_else(|_| "1".into());
        println!("@{} {}", name.rsplit('/').next().unwrap(), value.trim());
    }
}

/// An agent that gives every container the same role and remembers what it was asked.
struct Fake {
    role: Role,
    refuse: Option<&'static str>,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Handler for Fake {
    async fn handle(&self, request: Request, _: mpsc::Sender<Progress>) -> Result<Response, ApiError> {
        self.asked.lock().unwrap().push(request.clone());
        match request {
            Request::Prepare { .. } => Ok(Response::Role(self.role)),
            Request::Created { .. } if self.refuse.is_some() => Err(ApiError::new(Code::Failed, self.refuse.unwrap())),
            Request::Exec { .. } => Ok(Response::Exec { allow: false, why: "it is recorded".into() }),
            _ => Ok(Response::Ok {}),
        }
    }
}

/// A bundle, an agent, and a root folder of runc's, in one temporary folder.
struct World {
    folder: tempfile::TempDir,
    id: String,
    asked: Arc<Mutex<Vec<Request>>>,
    _agent: Option<tokio::runtime::Runtime>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl World {
    /// `None`, with a word why, where this machine cannot.
    fn new(agent: Option<(Role, Option<&'static str>)>) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || Command::new("runc").arg("--version").output().is_err() {
            eprintln!("skipped: needs root and runc");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let agent = agent.map(|(role, refuse)| {
            let tokio = tokio::runtime::Runtime::new().unwrap();
            let _guard = tokio.enter();
            let listener = bind(&folder.path().join("agent.sock")).unwrap();
            tokio.spawn(serve(listener, Arc::new(Fake { role, refuse, asked: asked.clone() })));
            drop(_guard);
            tokio
        });
        let id = format!("migrate-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let world = Self { folder, id, asked, _agent: agent };
        world.make_bundle();
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make_bundle(&self) {
        let root = self.path("bundle/rootfs");
        for folder in ["proc", "dev", "sys"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        // Its libraries are what it has mapped.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        for library in maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).filter(|path| path.contains(".so")) {
            copy_into(&root, Path::new(library), Path::new(library));
        }
        let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
        copy_into(&root, &loader.canonicalize().unwrap(), loader);
        copy_into(&root, &std::env::current_exe().unwrap(), Path::new("/inside"));

        assert!(Command::new("runc").args(["spec", "--bundle"]).arg(self.path("bundle")).status().unwrap().success());
        self.edit(|config| {
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = serde_json::json!(["/inside", "--exact", "inside", "--ignored", "--nocapture"]);
            config["process"]["env"] = serde_json::json!(["LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu"]);
        });
    }

    fn edit(&self, edit: impl FnOnce(&mut serde_json::Value)) {
        let file = self.path("bundle/config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        edit(&mut config);
        std::fs::write(file, config.to_string()).unwrap();
    }

    fn runtime(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command.arg("runtime").arg("--agent-socket").arg(self.path("agent.sock"));
        command.arg("--root").arg(self.path("runc")).arg("--log").arg(self.path("log.json")).args(["--log-format", "json"]);
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Creates as the shim does; whether that worked.
    fn create(&self) -> bool {
        let (bundle, pid) = (self.path("bundle"), self.path("pid"));
        let args = ["create", "--bundle", bundle.to_str().unwrap(), "--pid-file", pid.to_str().unwrap(), &self.id];
        let out = File::create(self.path("out")).unwrap();
        self.command(&args).stdout(out.try_clone().unwrap()).stderr(out).status().unwrap().success()
    }

    fn state(&self) -> String {
        let out = self.runtime(&["state", &self.id]);
        let state: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        state["status"].as_str().unwrap_or("gone").to_owned()
    }

    /// Starts it, waits for its end, and returns what it said.
    fn run(&self) -> String {
        let started = self.runtime(&["start", &self.id]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let begin = Instant::now();
        while self.state() != "stopped" {
            assert!(begin.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.out()
    }

    fn out(&self) -> String {
        let mut text = String::new();
        File::open(self.path("out")).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.runtime(&["delete", "--force", &self.id]);
    }
}

fn copy_into(root: &Path, from: &Path, to: &Path) {
    let to = root.join(to.strip_prefix("/").unwrap());
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

fn value<'a>(out: &'a str, name: &str) -> &'a str {
    let line = out.lines().find_map(|line| line.split_once('@')?.1.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {out}"))
}

#[test]
fn a_recorded_container_has_fixed_addresses_and_no_calls_that_cannot_be_logged() {
    let Some(world) = World::new(Some((Role::Record, None))) else { return };
    assert!(world.create(), "{}", world.out());
    // The agent was told before create returned, and the image has not run yet.
    let pid: i32 = std::fs::read_to_string(world.path("pid")).unwrap().parse().unwrap();
    let bundle = world.path("bundle");
    let id = world.id.clone();
    assert_eq!(
        world.asked(),
        [Request::Prepare { id: id.clone(), bundle }, Request::Created { id: id.clone(), pid, reasons: vec![] }]
    );
    assert_eq!(world.state(), "created");

    let out = world.run();
    assert_eq!(value(&out, "personality"), "0x40000");
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "rseq"] {
        assert_eq!(value(&out, name), libc::ENOSYS.to_string(), "{name}");
    }
    assert_eq!(value(&out, "arp_ignore"), "0");

    assert!(world.runtime(&["delete", &id]).status.success());
    assert_eq!(world.asked().last().unwrap(), &Request::Deleted { id });
}

#[test]
fn a_profile_that_allows_a_hidden_call_by_name_does_not_bring_it_back() {
    let Some(world) = World::new(Some((Role::Record, None))) else { return };
    // As Docker's own: everything is refused but what is listed, and the hidden calls are listed.
    let names: Vec<_> = migrate_common::syscalls::TABLE.iter().map(|row| row.name).collect();
    world.edit(|config| {
        config["linux"]["seccomp"] = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}, {"names": ["rseq"], "action": "SCMP_ACT_ALLOW"}],
        });
    });
    assert!(world.create(), "{}", world.out());
    let out = world.run();
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "rseq"] {
        assert_eq!(value(&out, name), libc::ENOSYS.to_string(), "{name}");
    }
}

#[test]
fn a_replica_has_the_source_s_clocks_and_a_silent_network_and_runc_still_knows_it() {
    const HOURS: i64 = 5 * 3_600_000_000_000;
    let role = Role::Replica { monotonic_offset_ns: HOURS, boottime_offset_ns: 2 * HOURS };
    let Some(world) = World::new(Some((role, None))) else { return };
    assert!(world.create(), "{}", world.out());
    let pid: i32 = std::fs::read_to_string(world.path("pid")).unwrap().parse().unwrap();
    assert!(matches!(&world.asked()[1], Request::Mute { pid: muted, .. } if *muted == pid), "{:?}", world.asked());
    assert!(matches!(&world.asked()[2], Request::Created { .. }));
    assert_eq!(world.state(), "created");

    let now = |clock| rustix::time::clock_gettime(clock).tv_sec;
    let (monotonic, boottime) = (now(rustix::time::ClockId::Monotonic), now(rustix::time::ClockId::Boottime));
    let out = world.run();
    let ahead = |name, host: i64| value(&out, name).parse::<i64>().unwrap() - host;
    assert!((18_000..18_060).contains(&ahead("monotonic", monotonic)), "{out}");
    assert!((36_000..36_060).contains(&ahead("boottime", boottime)), "{out}");
    assert_eq!(value(&out, "arp_ignore"), "8");
    assert_eq!(value(&out, "disable_ipv6"), "1");
    assert_eq!(value(&out, "personality"), "0x40000");
}

#[test]
fn without_an_agent_no_container_is_made_and_the_log_says_what_to_do() {
    let Some(world) = World::new(None) else { return };
    assert!(!world.create());
    let log = std::fs::read_to_string(world.path("log.json")).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("start one with `migrate agent`"), "{line}");
    assert_eq!(world.state(), "gone");
}

#[test]
fn a_container_that_the_agent_cannot_attach_to_is_deleted() {
    let Some(world) = World::new(Some((Role::Record, Some("no probes on this kernel")))) else { return };
    assert!(!world.create());
    assert!(world.out().contains("no probes on this kernel"), "{}", world.out());
    assert_eq!(world.state(), "gone");
}

#[test]
fn exec_is_refused_with_the_agent_s_words() {
    let Some(world) = World::new(Some((Role::Record, None))) else { return };
    assert!(world.create(), "{}", world.out());
    let out = world.runtime(&["exec", &world.id, "/inside"]);
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("refused: it is recorded"));
}

#[test]
fn a_failure_of_runc_s_own_passes_through() {
    let Some(world) = World::new(Some((Role::Record, None))) else { return };
    std::fs::remove_dir_all(world.path("bundle/rootfs")).unwrap();
    assert!(!world.create());
    assert!(world.out().contains("rootfs"), "{}", world.out());
    assert!(!world.asked().iter().any(|request| matches!(request, Request::Created { .. })));
    let out = world.runtime(&["run", "--bundle", "/", &world.id]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("use create and start"));
}
