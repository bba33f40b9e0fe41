//! Forwards what the programs log, for debugging: with an object that was built with its feature `log`.

use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::ProbeError;

const POLL: Duration = Duration::from_millis(50);

/// Starts a thread that passes messages on to the `log` crate, for as long as this process lives. An object without messages
/// is no error.
pub(super) fn forward(programs: &mut Ebpf) -> Result<(), ProbeError> {
    let mut logger = match EbpfLogger::init(programs) {
        Ok(logger) => logger,
        Err(error) => {
            tracing::info!(%error, "the eBPF programs do not log");
            return Ok(());
        }
    };
    let run = move || {
        loop {
            logger.flush();
            thread::sleep(POLL);
        }
    };
    thread::Builder::new().name("probe-log".into()).spawn(run).map_err(ProbeError::io("starting the log thread"))?;
    Ok(())
}
