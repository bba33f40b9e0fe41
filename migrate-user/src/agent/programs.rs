//! `migrate record` and `migrate replay`: a program that is run to its end, and run again from its log.

use super::api::{ApiError, Code, RecordReport, RecordRequest, ReplayReport, ReplayRequest, Role};
use super::daemon::{Daemon, Entry};
use super::errors::{failed, micros};
use super::fault;
use super::host;
use super::witness::{self, Comparer};
use crate::container::docker::Program;
use crate::replay::ReplayError;
use crate::replay::replica::{Replica, ReplicaError};
use crate::round::{End, Ending, LogError, LogMeta, LogReader, Output, Proof};
use crate::sys::release;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

/// A container's name is part of its program's environment: the same in every run.
const HOSTNAME: &str = "recorded";

/// What a recorded program was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recipe {
    image_id: String,
    image: String,
    cmd: Vec<String>,
    env: Vec<String>,
}

fn bad_log(error: &LogError) -> ApiError {
    ApiError::new(Code::BadLog, error.to_string())
}

async fn within<T>(timeout_ms: Option<u64>, what: impl Future<Output = T>) -> Option<T> {
    match timeout_ms {
        Some(ms) => tokio::time::timeout(Duration::from_millis(ms), what).await.ok(),
        None => Some(what.await),
    }
}

impl Daemon {
    fn program(&self, recipe: &Recipe) -> Program {
        Program {
            name: None,
            image: recipe.image_id.clone(),
            cmd: recipe.cmd.clone(),
            env: recipe.env.clone(),
            runtime: self.config.runtime.clone(),
            hostname: Some(HOSTNAME.to_owned()),
            labels: Vec::new(),
        }
    }

    /// Runs a program under record to its end.
    pub async fn record(&self, request: RecordRequest) -> Result<RecordReport, ApiError> {
        if request.out.exists() {
            let message = format!("{} exists already", request.out.display());
            return Err(ApiError::new(Code::Usage, message).remedy("name another file, or remove that one"));
        }
        let Some(image_id) = self.docker.image_id(&request.image).await.map_err(failed)? else {
            let message = format!("there is no image {} on this host", request.image);
            return Err(ApiError::new(Code::Usage, message).remedy("docker pull or docker load it first"));
        };
        let recipe = Recipe { image_id, image: request.image.clone(), cmd: request.cmd.clone(), env: request.env.clone() };
        let mut program = self.program(&recipe);
        program.labels = request.serialise.iter().map(|word| ("migrate.serialise".to_owned(), word.clone())).collect();
        let id = self.docker.create_program(&program).await.map_err(failed)?;
        self.keep(&id);
        let result = self.record_created(&id, &recipe, &request).await;
        drop(self.docker.remove(&id).await);
        self.release(&id);
        result
    }

    async fn record_created(&self, id: &str, recipe: &Recipe, request: &RecordRequest) -> Result<RecordReport, ApiError> {
        self.describe(
            id,
            LogMeta {
                created_by: concat!("migrate ", env!("CARGO_PKG_VERSION")).to_owned(),
                kernel_release: release::name(),
                cpu: host::cpu(),
                image: Some(recipe.image.clone()),
                command: recipe.cmd.clone(),
                container: serde_json::to_value(recipe).map_err(failed)?,
            },
        );
        let begun = Instant::now();
        self.docker.start(id).await.map_err(failed)?;
        let recording = match self.entry(id) {
            Some(Entry::Recorded(recording)) => recording,
            Some(Entry::Unrecorded { reasons, .. }) => {
                return Err(ApiError::new(Code::Refused, "the program's container cannot be recorded").details(reasons));
            }
            _ => return Err(failed("the runtime did not hand the container over: is it registered as `migrate`?")),
        };
        let Some(code) = within(request.timeout_ms, self.docker.wait(id)).await else {
            return Err(ApiError::new(Code::Failed, "the program did not end in time"));
        };
        let exit_code = code.map_err(failed)?;
        let elapsed_us = micros(begun.elapsed());
        let output = self.docker.logs(id).await.map_err(failed)?;
        let end = End {
            exit_code: i32::try_from(exit_code).unwrap_or(i32::MAX),
            stdout: Output::of(&output.stdout),
            stderr: Output::of(&output.stderr),
            ..End::default()
        };
        let out = request.out.clone();
        let state = tokio::task::spawn_blocking(move || {
            recording.flush(false).map_err(failed)?;
            let state = recording.state();
            if !state.reasons.is_empty() {
                return Err(ApiError::new(Code::Refused, "the program cannot be replayed").details(state.reasons));
            }
            let path = recording.finish(Ending::End(end)).map_err(failed)?;
            move_file(path, &out).map_err(|error| failed(format!("cannot write {}: {error}", out.display())))?;
            Ok(state)
        });
        let state = state.await.map_err(failed)??;
        let file_bytes = std::fs::metadata(&request.out).map(|meta| meta.len()).map_err(failed)?;
        Ok(RecordReport {
            out: request.out.clone(),
            exit_code,
            records: state.totals.records,
            raw_bytes: state.totals.raw_bytes,
            file_bytes,
            elapsed_us,
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    /// Replays a log in a fresh container.
    pub async fn replay(&self, request: ReplayRequest) -> Result<ReplayReport, ApiError> {
        let mut log = open_log(&request.file)?;
        let recipe = check_meta(log.meta())?;
        let proofs = if request.verify { Some(proofs(&request.file)?) } else { None };
        if !self.docker.image_present(&recipe.image_id).await.map_err(failed)? {
            let message = format!("image {} ({}) is not on this host", recipe.image, recipe.image_id);
            return Err(ApiError::new(Code::Refused, message).remedy("load the very image that was recorded"));
        }
        let id = self.docker.create_program(&self.program(&recipe)).await.map_err(failed)?;
        let result = within(request.timeout_ms, self.replay_created(&id, &request, proofs, &mut log)).await;
        let result = match result {
            Some(Ok(mut report)) => self.compare(&id, &mut report, log).await.map(|()| report),
            Some(Err(error)) => Err(error),
            None => Err(ApiError::new(Code::Failed, "the replay did not end in time")),
        };
        drop(self.docker.kill(&id, "SIGKILL").await);
        drop(self.docker.remove(&id).await);
        result
    }

    async fn replay_created(
        &self,
        id: &str,
        request: &ReplayRequest,
        proofs: Option<Vec<Proof>>,
        log: &mut LogReader<BufReader<File>>,
    ) -> Result<ReplayReport, ApiError> {
        let expected = self.expect(id, Role::Replica { monotonic_offset_ns: 0, boottime_offset_ns: 0 });
        self.docker.start(id).await.map_err(failed)?;
        let replica = expected.await.map_err(failed)?.map_err(failed)?;
        let begun = Instant::now();
        let mut report = ReplayReport { file: request.file.clone(), ..ReplayReport::default() };
        let mut found = None;
        if proofs.is_some() || fault::changes_a_page() {
            let (comparer, memory) = Comparer::new(proofs.unwrap_or_default(), request.verify);
            found = Some(memory).filter(|_| request.verify);
            let called = replica.with(|engine| {
                engine.call_witness(Box::new(comparer));
                Ok(())
            });
            called.await.map_err(|error| replica_error(&error))?;
        }
        while let Some(records) = log.next_records().map_err(|error| bad_log(&error))? {
            report.records += records.len() as u64;
            feed(&replica, records).await?;
        }
        replica.with(|engine| engine.check_settled()).await.map_err(|error| replica_error(&error))?;
        report.elapsed_us = micros(begun.elapsed());
        if let Some(found) = found {
            report.memory = Some(witness::taken(&found));
        }
        report.exit_code = self.docker.wait(id).await.map_err(failed)?;
        Ok(report)
    }

    async fn compare(&self, id: &str, report: &mut ReplayReport, log: LogReader<BufReader<File>>) -> Result<(), ApiError> {
        let end = log.into_end().map_err(|error| bad_log(&error))?;
        let output = self.docker.logs(id).await.map_err(failed)?;
        if report.exit_code != i64::from(end.exit_code) {
            report.differences.push(format!("exit code {}, recorded {}", report.exit_code, end.exit_code));
        }
        for (name, own, recorded) in [("stdout", &output.stdout, &end.stdout), ("stderr", &output.stderr, &end.stderr)] {
            let own = Output::of(own);
            if own != *recorded {
                report.differences.push(format!("{name} of {} bytes differs from the {} recorded", own.bytes, recorded.bytes));
            }
        }
        for difference in report.memory.iter().flat_map(|memory| &memory.differences) {
            report.differences.push(format!("memory at its end: {difference}"));
        }
        report.converged = report.differences.is_empty();
        if report.converged {
            return Ok(());
        }
        Err(ApiError::new(Code::Diverged, "the replica's outcome differs").details(report.differences.clone()))
    }
}

fn open_log(path: &Path) -> Result<LogReader<BufReader<File>>, ApiError> {
    let file = File::open(path);
    let file = file.map_err(|error| ApiError::new(Code::Usage, format!("cannot read {}: {error}", path.display())))?;
    LogReader::new(BufReader::new(file)).map_err(|error| bad_log(&error))
}

/// What a log has of the memory of the processes that ended: it stands behind all records.
fn proofs(path: &Path) -> Result<Vec<Proof>, ApiError> {
    let proofs = open_log(path)?.skip_to_end().map_err(|error| bad_log(&error))?.proofs;
    if proofs.is_empty() {
        let message = "the log has nothing of the memory of its processes";
        return Err(ApiError::new(Code::Refused, message).remedy("record the program again with this version"));
    }
    Ok(proofs.processes)
}

/// Feeds records to a replica.
pub(super) async fn feed(replica: &Replica, records: Vec<crate::record::Record>) -> Result<(), ApiError> {
    replica.with(move |engine| engine.feed(&records)).await.map_err(|error| replica_error(&error))
}

fn replica_error(error: &ReplicaError) -> ApiError {
    let text = error.to_string();
    let mut lines = text.lines();
    let message = lines.next().unwrap_or("the replay failed").to_owned();
    let code = match error {
        ReplicaError::Replay(ReplayError::Desync(_) | ReplayError::Stuck { .. }) => Code::Diverged,
        ReplicaError::Replay(ReplayError::Unsupported { .. }) => Code::Refused,
        _ => Code::Failed,
    };
    ApiError::new(code, message).details(lines.map(str::to_owned))
}

fn check_meta(meta: &LogMeta) -> Result<Recipe, ApiError> {
    let recipe = serde_json::from_value(meta.container.clone()).map_err(|_| {
        ApiError::new(Code::Refused, "the log is of a container, not of a program that `migrate record` ran to its end")
    })?;
    let here = release::name();
    if meta.kernel_release != here {
        let message = format!("the log was made on kernel {}, this is {here}", meta.kernel_release);
        return Err(ApiError::new(Code::Refused, message).remedy("replay it on a host with the same kernel"));
    }
    if meta.cpu != host::cpu() {
        let message = format!("the log was made on another processor ({})", meta.cpu.model);
        return Err(ApiError::new(Code::Refused, message).remedy("replay it on a host with the same processor"));
    }
    Ok(recipe)
}

/// Renames, or copies where the target is on another file system.
fn move_file(from: &Path, to: &Path) -> std::io::Result<()> {
    if std::fs::rename(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to)?;
    std::fs::remove_file(from)
}
