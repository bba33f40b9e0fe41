use super::*;

const ID: &str = "4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de4f1c0de1";

fn known(id: &str, name: &str, cgroup: Option<&str>) -> Known {
    Known { id: id.into(), name: name.into(), cgroup: cgroup.map(PathBuf::from) }
}

#[test]
fn every_runtime_s_directory_tells_the_container_s_id() {
    for name in [
        ID.to_owned(),
        format!("docker-{ID}.scope"),
        format!("libpod-{ID}.scope"),
        format!("libpod-{ID}"),
        format!("cri-containerd-{ID}.scope"),
        format!("crio-{ID}.scope"),
        format!("nerdctl-{ID}.scope"),
    ] {
        assert_eq!(id_of_directory(&name), Some(ID), "{name}");
    }
    for name in [format!("libpod-conmon-{ID}.scope"), format!("crio-conmon-{ID}.scope"), "system.slice".into(), ID[1..].into()] {
        assert_eq!(id_of_directory(&name), None, "{name}");
    }
}

#[test]
fn what_the_sources_say_of_one_container_is_put_together() {
    let merged = merge(vec![
        known("aa", "web", None),
        known("bb", "", None),
        known("aa", "", Some("/cg/docker/aa/init")),
        known("aa", "other", Some("/cg/docker/aa")),
    ]);
    assert_eq!(merged, [known("aa", "web", Some("/cg/docker/aa")), known("bb", "", None)]);
}

#[test]
fn a_name_goes_before_the_beginning_of_an_id() {
    let all = [known("abc1", "web", Some("/a")), known("abd2", "abc", Some("/b")), known("f00", "db", None)];
    let id = |name: &str| select(name, &all).unwrap().map(|known| known.id.as_str());
    assert_eq!(
        [id("web"), id("abc"), id("abc1"), id("f"), id("x")],
        [Some("abc1"), Some("abd2"), Some("abc1"), Some("f00"), None]
    );
}

#[test]
fn a_beginning_that_two_ids_have_is_refused_unless_one_alone_runs() {
    let both = [known("abc1", "web", Some("/a")), known("abd2", "db", Some("/b"))];
    let Err(RatesError::Ambiguous { name, ids }) = select("ab", &both) else { panic!("not refused") };
    assert_eq!((name.as_str(), ids), ("ab", vec!["abc1 (web)".to_owned(), "abd2 (db)".to_owned()]));
    let one = [known("abc1", "web", Some("/a")), known("abd2", "db", None)];
    assert_eq!(select("ab", &one).unwrap().unwrap().id, "abc1");
}

#[test]
fn containers_inside_containers_are_measured_with_the_outer_one() {
    let found = |path: &str| Found { target: Target::default(), cgroup: Cgroup::at(path) };
    let all = vec![found("/cg/docker/a/docker/b"), found("/cg/docker/a"), found("/cg/docker/ab")];
    assert_eq!(outermost(all), [found("/cg/docker/a"), found("/cg/docker/ab")]);
}

#[test]
fn runtimes_state_is_read_and_engines_that_are_not_there_say_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at("runc/plain")).unwrap();
    std::fs::write(at("runc/plain/state.json"), r#"{"id":"plain","init_process_pid":999999999}"#).unwrap();
    std::fs::create_dir_all(at("tasks/moby/task-1")).unwrap();
    std::fs::write(at("tasks/moby/task-1/init.pid"), "999999999").unwrap();
    std::fs::write(at("containers.json"), r#"[{"id":"pod1","names":["pretty"]},{"id":"pod2"}]"#).unwrap();
    std::fs::create_dir_all(at(&format!("cg/kubepods/pod7/{ID}/init"))).unwrap();
    let sources = Sources {
        sockets: vec![at("none.sock")],
        runc: vec![at("runc"), at("nothing")],
        containerd: at("tasks"),
        podman_store: at("containers.json"),
    };
    let cgroup = at(&format!("cg/kubepods/pod7/{ID}"));
    let expected = [
        known(ID, "", cgroup.to_str()),
        known("plain", "", None),
        known("pod1", "pretty", None),
        known("pod2", "", None),
        known("task-1", "", None),
    ];
    assert_eq!(merge(sources.containers(&at("cg"))), expected);
    assert!(sources.describe(&at("cg")).contains("none.sock (not there)"));
}

#[test]
fn a_directory_of_any_name_is_found_once_and_its_outermost() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("user/web/web")).unwrap();
    assert_eq!(sources::directory_named("web", dir.path()).unwrap(), Some(dir.path().join("user/web")));
    assert_eq!(sources::directory_named("db", dir.path()).unwrap(), None);
    std::fs::create_dir_all(dir.path().join("web")).unwrap();
    assert!(matches!(sources::directory_named("web", dir.path()), Err(RatesError::Ambiguous { .. })));
}

#[test]
fn a_path_that_is_no_cgroup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["none", "../x", "/sys/fs/cgroup/none-such"] {
        assert!(matches!(cgroup(Path::new(path), dir.path()), Err(RatesError::NoCgroup { .. })), "{path}");
    }
}
