//! Whether a running container can be moved, and why not: what is known of it put together as checks.

use super::tasks::Tasks;
use crate::agent::api::{Check, ContainerInfo, ContainerState};

/// Records a second that the ptrace backend replays at the least, and at the most; docs/limits.md.
const REPLAYED_PER_S: (f64, f64) = (15_000.0, 40_000.0);
/// Names of shared memory that are shown.
const SHOWN: usize = 4;

/// What is known of a container.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// As the agent has it; none when it does not know the container.
    pub known: Option<ContainerInfo>,
    /// What in its configuration cannot be carried.
    pub unsupported: Vec<String>,
    /// None when it has no process.
    pub tasks: Option<Tasks>,
    /// Records that it made in a second; none when it is not recorded.
    pub records_per_s: Option<f64>,
}

/// All checks of a container. None fails: it can be moved, as far as can be known before.
#[must_use]
pub fn container_checks(facts: &Facts) -> Vec<Check> {
    let mut checks = recorded(facts.known.as_ref());
    checks.extend(configuration(&facts.unsupported));
    if let Some(tasks) = &facts.tasks {
        // Whom the agent does not know has no log whose order could be kept.
        checks.extend(facts.known.as_ref().map(|known| order(tasks, known)));
        checks.extend(objects(tasks));
    }
    checks.extend(facts.records_per_s.map(rate));
    checks
}

fn recorded(known: Option<&ContainerInfo>) -> Vec<Check> {
    const NAME: &str = "recorded";
    const ANEW: &str = "start it anew with `docker run --runtime migrate` while the agent runs";
    let Some(known) = known else {
        return vec![Check::fail(
            NAME,
            "the agent does not know it: its log would have to begin with its first instruction",
            ANEW,
        )];
    };
    if !known.migratable && !known.reasons.is_empty() {
        let remedy = "docs/limits.md tells what can be done without; a restart begins a new log";
        return known.reasons.iter().map(|reason| Check::fail(NAME, reason, remedy)).collect();
    }
    vec![match known.state {
        ContainerState::Recording if known.migratable => Check::ok(NAME, format!("{} records since its start", known.records)),
        ContainerState::Live => Check::fail(NAME, "it came here by a move, and is not recorded since", ANEW),
        state => Check::fail(NAME, format!("it is {state}"), ANEW),
    }]
}

fn configuration(unsupported: &[String]) -> Vec<Check> {
    const NAME: &str = "configuration";
    if unsupported.is_empty() {
        return vec![Check::ok(NAME, "nothing that only this host has")];
    }
    unsupported.iter().map(|reason| Check::fail(NAME, reason, "create the container without it")).collect()
}

/// How the order of its tasks is kept.
fn order(tasks: &Tasks, known: &ContainerInfo) -> Check {
    const NAME: &str = "order of tasks";
    let mut found = format!("{}, {}", many(tasks.processes, "process", "processes"), many(tasks.tasks, "task", "tasks"));
    let threads = tasks.tasks > tasks.processes;
    let several: Vec<&str> = tasks.shared.iter().filter(|(_, users)| **users > 1).map(|(name, _)| name.as_str()).collect();
    if !several.is_empty() {
        let more = if several.len() > SHOWN { " …" } else { "" };
        found.push_str(&format!(", shared memory: {}{more}", several[..several.len().min(SHOWN)].join(", ")));
    }
    if known.serial {
        let cpu = known.cpu.map_or(String::new(), |cpu| format!(" on CPU {cpu}"));
        Check::ok(NAME, format!("{found}; they take turns{cpu}"))
    } else if threads || !several.is_empty() {
        let remedy = "let its tasks take turns on one CPU, which the agent does unless it is told not to (--serialise auto)";
        Check::fail(NAME, format!("{found}; they share memory and do not take turns"), remedy)
    } else {
        Check::ok(NAME, format!("{found}; they share no memory that they write"))
    }
}

fn objects(tasks: &Tasks) -> Vec<Check> {
    const NAME: &str = "open files";
    if tasks.obstacles.is_empty() {
        return vec![Check::ok(NAME, "each can be opened again on another host")];
    }
    let named = |(what, pid): (&String, &i32)| {
        Check::fail(NAME, format!("{what} of process {pid}"), "configure the program to do without, or wait until it is closed")
    };
    tasks.obstacles.iter().map(named).collect()
}

fn rate(records_per_s: f64) -> Check {
    const NAME: &str = "record rate";
    let (least, most) = REPLAYED_PER_S;
    let found = format!("{records_per_s:.0} records/s; a replica follows {least:.0} to {most:.0}");
    if records_per_s <= least {
        Check::ok(NAME, found)
    } else if records_per_s <= most {
        Check::warn(NAME, found, "a move may not converge: move it when it has less to do")
    } else {
        Check::fail(NAME, found, "move it when it has less to do; `migrate rates` shows what makes the records")
    }
}

fn many(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::api::CheckState;

    fn known() -> ContainerInfo {
        ContainerInfo {
            pid: 7,
            state: ContainerState::Recording,
            migratable: true,
            records: 12,
            ..ContainerInfo::unrecorded("4f".into(), "web".into(), "web".into())
        }
    }

    fn facts() -> Facts {
        let tasks = Tasks { processes: 2, tasks: 2, ..Tasks::default() };
        Facts { known: Some(known()), unsupported: Vec::new(), tasks: Some(tasks), records_per_s: Some(900.0) }
    }

    /// What fails, in words.
    fn failing(facts: &Facts) -> Vec<String> {
        let checks = container_checks(facts);
        assert!(checks.iter().all(|check| (check.state == CheckState::Ok) == check.remedy.is_empty()), "{checks:?}");
        checks.iter().filter(|check| check.state == CheckState::Fail).map(|check| check.found.clone()).collect()
    }

    #[test]
    fn a_container_without_obstacles_can_be_moved() {
        assert_eq!(failing(&facts()), Vec::<String>::new());
    }

    #[test]
    fn every_reason_of_the_agent_and_of_the_configuration_is_named() {
        let reasons = vec!["it was entered by docker exec".to_owned(), "the ring lost 3 records".to_owned()];
        let known = Some(ContainerInfo { migratable: false, reasons: reasons.clone(), ..known() });
        let unsupported = vec!["volume /data".to_owned()];
        assert_eq!(failing(&Facts { known, unsupported, ..facts() }), [reasons, vec!["volume /data".to_owned()]].concat());
        assert_eq!(failing(&Facts { known: None, ..facts() }).len(), 1);
        let live = ContainerInfo { state: ContainerState::Live, migratable: false, ..self::known() };
        assert!(failing(&Facts { known: Some(live), ..facts() })[0].contains("came here by a move"));
    }

    #[test]
    fn tasks_that_share_memory_must_take_turns() {
        let threads = Tasks { processes: 1, tasks: 4, ..Tasks::default() };
        let memory = Tasks { shared: [("anonymous memory".to_owned(), 2)].into(), ..facts().tasks.unwrap() };
        let serial = ContainerInfo { serial: true, cpu: Some(1), ..known() };
        for tasks in [threads, memory] {
            let facts = Facts { tasks: Some(tasks), ..facts() };
            assert!(failing(&facts)[0].contains("do not take turns"));
            assert_eq!(failing(&Facts { known: Some(serial.clone()), ..facts }), Vec::<String>::new());
        }
        // One process that nobody shares with.
        let alone = Tasks { shared: [("anonymous memory".to_owned(), 1)].into(), ..facts().tasks.unwrap() };
        assert_eq!(failing(&Facts { tasks: Some(alone), ..facts() }), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_opened_again_is_named_with_its_process() {
        let tasks = Tasks { obstacles: [("io_uring".to_owned(), 41)].into(), ..facts().tasks.unwrap() };
        assert_eq!(failing(&Facts { tasks: Some(tasks), ..facts() }), ["io_uring of process 41"]);
    }

    #[test]
    fn more_records_than_a_replica_follows_are_told() {
        let state = |records_per_s| {
            let checks = container_checks(&Facts { records_per_s: Some(records_per_s), ..facts() });
            checks.into_iter().find(|check| check.name == "record rate").unwrap().state
        };
        assert_eq!(state(14_000.0), CheckState::Ok);
        assert_eq!(state(20_000.0), CheckState::Warn);
        assert_eq!(state(50_000.0), CheckState::Fail);
    }
}
