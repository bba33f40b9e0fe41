//! The live view, on a thread of its own: it answers keys while the measurement waits for its next interval.

use crate::agent::api::Code;
use crate::cli::CliError;
use crate::rates::Sample;
use crate::rates::screen::{self, ScreenError};
use nix::sys::eventfd::EventFd;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// A view that is shown until it is dropped, or until somebody leaves it.
#[derive(Debug)]
pub(super) struct Live {
    samples: mpsc::Sender<Vec<Sample>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), ScreenError>>>,
}

/// Rings when the view is over, however it ended.
struct Bell(Arc<EventFd>);

impl Drop for Bell {
    fn drop(&mut self) {
        // It can only fail at 2^64 - 1 rings.
        let _ = self.0.write(1);
    }
}

impl Live {
    /// Whether there is somebody to see it.
    pub(super) fn is_possible() -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !dumb
    }

    /// Takes the terminal. `over` rings when the view has ended.
    pub(super) fn start(over: Arc<EventFd>) -> Result<Self, CliError> {
        let (samples, receiver) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("screen".into()).spawn(move || {
            let _bell = Bell(over);
            screen::run(&receiver, &told)
        });
        let thread = thread.map_err(|error| CliError::caused(Code::Failed, "cannot start the live view", error))?;
        Ok(Self { samples, stop, thread: Some(thread) })
    }

    /// Shows an interval.
    pub(super) fn show(&self, samples: &[Sample]) {
        // A view that has ended has rung.
        let _ = self.samples.send(samples.to_vec());
    }

    /// Gives the terminal back.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        match self.end() {
            Some(Ok(Ok(()))) | None => Ok(()),
            Some(Ok(Err(error))) => Err(CliError::caused(Code::Failed, "the live view has failed", error)),
            Some(Err(_)) => Err(CliError::other(Code::Failed, "the live view has failed; why stands above")),
        }
    }

    fn end(&mut self) -> Option<std::thread::Result<Result<(), ScreenError>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.end());
    }
}
