//! Puts a load on a container and says what it got done.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use migrate_tests::{client::Throughput, lab};

use super::{
    containers::{ADDRESS, Stage},
    workloads::{Load, Workload},
};

/// A server answers, and a batch comes to its end, within this time.
const PATIENCE: Duration = Duration::from_secs(120);
const WARM_UP_S: u32 = 1;
/// Threads of the load generator.
const THREADS: u32 = 2;
/// Of the requests of a server, those whose connection may end before the answer.
const MAX_FAILED: f64 = 0.001;
const REDIS_PORT: u16 = 6379;
const REDIS_KEYS: &str = "100000";
const REDIS_VALUE_BYTES: &str = "200";
/// The commands of [`Load::Redis`].
const REDIS_TESTS: f64 = 2.0;

/// What a load got done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// In the load's unit.
    pub count: f64,
    pub seconds: f64,
}

impl Done {
    pub fn per_s(self) -> f64 {
        self.count / self.seconds
    }
}

/// How much of its unit a batch is to do.
pub fn amount(load: Load, seconds: u32) -> u32 {
    match load {
        Load::Batch { amount_per_s, .. } => amount_per_s * seconds,
        Load::Http { .. } | Load::Redis { .. } | Load::RedisLight { .. } => 0,
    }
}

/// A first load of about a second, when the server answers. How fast it was; none for a batch, which warms up by itself.
pub fn warm_up(stage: &Stage, workload: &Workload) -> Result<Option<Done>> {
    if matches!(workload.load, Load::Batch { .. }) {
        return Ok(None);
    }
    let end = Instant::now() + PATIENCE;
    loop {
        match answers(stage, workload.load).and_then(|()| measure(stage, workload, WARM_UP_S, None)) {
            Ok(done) => return Ok(Some(done)),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("{} does not answer; it says {:?}", workload.name, stage.said())));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// redis-benchmark tries for ever when the port is not open yet, and lab-client for a while; wrk ends with an error.
fn answers(stage: &Stage, load: Load) -> Result<()> {
    if matches!(load, Load::Redis { .. } | Load::RedisLight { .. }) {
        output(stage.client("redis-cli")?.args(["-h", ADDRESS, "ping"]))?;
    }
    Ok(())
}

/// The load, for about `seconds`; `before`: what the warm-up got done.
pub fn measure(stage: &Stage, workload: &Workload, seconds: u32, before: Option<Done>) -> Result<Done> {
    match workload.load {
        Load::Http { connections, at } => http(stage, connections, at, seconds),
        Load::Redis { clients, pipeline } => redis(stage, clients, pipeline, seconds, before),
        Load::RedisLight { clients } => redis_light(stage, clients, seconds),
        Load::Batch { .. } => batch(stage, amount(workload.load, seconds)),
    }
}

fn http(stage: &Stage, connections: u32, at: &str, seconds: u32) -> Result<Done> {
    let mut wrk = stage.client("wrk")?;
    // wrk knows whole seconds only.
    wrk.args([format!("-t{THREADS}"), format!("-c{connections}"), format!("-d{}s", seconds)]);
    let said = output(wrk.arg(format!("http://{ADDRESS}{at}")))?;
    parse_wrk(&said).with_context(|| format!("wrk said {said:?}"))
}

/// wrk's own count and time; none when more failed than may. A busy server closes connections that wait for their next request, as
/// apache does when all its threads are taken: wrk, whose request was on its way, counts an error and connects again.
fn parse_wrk(said: &str) -> Option<Done> {
    let line = said.lines().find(|line| line.contains(" requests in "))?;
    let count: f64 = line.split_whitespace().next()?.parse().ok()?;
    if said.contains("Non-2xx") || socket_errors(said)? > count * MAX_FAILED {
        return None;
    }
    let rate: f64 = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?.trim().parse().ok()?;
    (count > 0.0 && rate > 0.0).then_some(Done { count, seconds: count / rate })
}

/// The sum of `Socket errors: connect 0, read 4, write 0, timeout 0`.
fn socket_errors(said: &str) -> Option<f64> {
    let Some((_, errors)) = said.split_once("Socket errors:") else { return Some(0.0) };
    errors.lines().next()?.split(',').map(|part| part.split_whitespace().nth(1)?.parse::<f64>().ok()).sum()
}

fn redis(stage: &Stage, clients: u32, pipeline: u32, seconds: u32, before: Option<Done>) -> Result<Done> {
    // It knows a number of commands, not a time; a first guess that takes well below a second.
    let each =
        before.map_or(f64::from(2000 * clients * pipeline).min(40_000.0), |done| done.per_s() * f64::from(seconds) / REDIS_TESTS);
    let mut command = stage.client("redis-benchmark")?;
    command.args(["-h", ADDRESS, "-c", &clients.to_string(), "-P", &pipeline.to_string(), "-n", &format!("{each:.0}")]).args([
        "-r",
        REDIS_KEYS,
        "-d",
        REDIS_VALUE_BYTES,
        "-t",
        "set,get",
        "--csv",
    ]);
    let said = output(&mut command)?;
    parse_redis(&said, each).with_context(|| format!("redis-benchmark said {said:?}"))
}

fn redis_light(stage: &Stage, clients: u32, seconds: u32) -> Result<Done> {
    let mut command = stage.lab_client()?;
    command.args(["--server", &format!("{ADDRESS}:{REDIS_PORT}"), "throughput"]);
    command.args(["--clients", &clients.to_string(), "--seconds", &seconds.to_string()]);
    let said = output(&mut command)?;
    let done: Throughput = serde_json::from_str(&said).with_context(|| format!("lab-client said {said:?}"))?;
    Ok(Done { count: done.commands as f64, seconds: done.seconds })
}

/// From the lines `"SET","71428.57",…`: commands per second of each.
fn parse_redis(said: &str, each: f64) -> Option<Done> {
    let rates: Vec<f64> = said
        .lines()
        .filter(|line| line.starts_with("\"SET\"") || line.starts_with("\"GET\""))
        .filter_map(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok())
        .filter(|rate| *rate > 0.0)
        .collect();
    (rates.len() == 2).then(|| Done { count: REDIS_TESTS * each, seconds: rates.iter().map(|rate| each / rate).sum() })
}

/// Waits for a batch. The time between its two lines is that at which Docker's shim passed them on.
fn batch(stage: &Stage, amount: u32) -> Result<Done> {
    let mut follow = stage.follow()?;
    let mut child =
        follow.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting docker logs")?;
    let output = child.stdout.take().context("docker logs has no output")?;
    let (line, lines) = mpsc::channel();
    let reader = thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
    let limit = Instant::now() + PATIENCE;
    let mut begin = None;
    let mut took = None;
    while took.is_none() {
        let Ok(line) = lines.recv_timeout(limit.saturating_duration_since(Instant::now())) else { break };
        let Some((time, text)) = line.split_once(' ') else { continue };
        match text.trim() {
            "begin" => begin = seconds_of_day(time),
            "end" => took = begin.zip(seconds_of_day(time)).map(|(begin, end)| (end - begin).rem_euclid(86_400.0)),
            _ => {}
        }
    }
    // It would follow on; its reader ends with it, or because nobody takes its lines any more.
    child.kill().and_then(|()| child.wait()).context("ending docker logs")?;
    drop(lines);
    drop(reader.join());
    let Some(seconds) = took else { bail!("the program did not come to its end; it says {:?}", stage.said()) };
    Ok(Done { count: f64::from(amount), seconds })
}

/// Of `2026-01-31T12:34:56.123456789Z`.
fn seconds_of_day(time: &str) -> Option<f64> {
    let mut parts = time.split_once('T')?.1.trim_end_matches('Z').splitn(3, ':');
    let mut next = || parts.next()?.parse::<f64>().ok();
    Some(next()? * 3600.0 + next()? * 60.0 + next()?)
}

fn output(command: &mut Command) -> Result<String> {
    let ended = lab::run_to_end(command, PATIENCE)?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !ended.status.is_some_and(|status| status.success()) {
        bail!("`{}` failed: {}{}", lab::command_line(command), said(&ended.stdout), said(&ended.stderr));
    }
    Ok(said(&ended.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_believed_unless_it_tells_of_many_errors() {
        let said = "  42 requests in 2.00s, 2.7MB read\nRequests/sec:     21.00\nTransfer/sec:      1.3MB\n";
        let done = parse_wrk(said).unwrap();
        assert_eq!((done.count, done.seconds), (42.0, 2.0));
        assert!(parse_wrk(&format!("{said}  Socket errors: connect 1, read 0, write 0, timeout 0\n")).is_none());
        assert!(parse_wrk(&format!("{said}  Non-2xx or 3xx responses: 1\n")).is_none());
        let said = said.replace("42", "4200");
        let errors = |read| format!("{said}  Socket errors: connect 0, read {read}, write 1, timeout 0\n");
        assert_eq!(parse_wrk(&errors(3)).map(|done| done.count), Some(4200.0));
        assert!(parse_wrk(&errors(4)).is_none());
    }

    #[test]
    fn redis_benchmark_s_two_rates_make_one() {
        let said = "\"test\",\"rps\"\n\"SET\",\"100.00\",\"1\"\n\"GET\",\"50.00\",\"1\"\n";
        let done = parse_redis(said, 100.0).unwrap();
        assert_eq!((done.count, done.seconds), (200.0, 3.0));
        assert!(parse_redis("\"SET\",\"100.00\"\n", 100.0).is_none());
    }

    #[test]
    fn docker_s_times_have_a_fraction() {
        assert_eq!(seconds_of_day("2026-01-31T01:02:03.5Z"), Some(3723.5));
        assert_eq!(seconds_of_day("never"), None);
    }
}
