//! The real terminal: taken, and given back as it was however the view ends.

use super::{Next, Screen};
use crate::rates::Sample;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// How long a key, a sample or the end may wait to be seen.
const TICK: Duration = Duration::from_millis(50);

/// Why there is no live view.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    #[error("standard input and output are not a terminal")]
    NotATerminal,
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Gives the terminal back. A panic does too, before its message: ratatui's hook.
struct Taken;

impl Drop for Taken {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows samples until `q`, until `stop` is set (by a signal's handler, say) or until the senders are gone. Each message is an
/// interval: one sample of every container that is measured.
///
/// # Errors
/// [`ScreenError`]; the terminal is as before then, too.
pub fn run(samples: &Receiver<Vec<Sample>>, stop: &AtomicBool) -> Result<(), ScreenError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(ScreenError::NotATerminal);
    }
    let taken = Taken;
    let mut terminal = ratatui::try_init()?;
    let done = watch(&mut terminal, samples, stop);
    // The terminal's own end shows the cursor: before the screen is left.
    drop(terminal);
    drop(taken);
    Ok(done?)
}

fn watch(terminal: &mut DefaultTerminal, samples: &Receiver<Vec<Sample>>, stop: &AtomicBool) -> io::Result<()> {
    let mut screen = Screen::new();
    let mut changed = true;
    while !stop.load(Ordering::Relaxed) {
        loop {
            match samples.try_recv() {
                Ok(interval) => {
                    screen.update(&interval);
                    changed = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if changed {
            terminal.draw(|frame| screen.draw(frame))?;
            changed = false;
        }
        // Waits for a key; a signal ends the wait, which is no failure.
        match event::poll(TICK) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        changed = true;
        if let Event::Key(key) = event::read()?
            && screen.key(key) == Next::Quit
        {
            return Ok(());
        }
    }
    Ok(())
}
