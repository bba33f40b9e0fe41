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
    Ok(with_terminal(|terminal| watch(terminal, samples, stop))?)
}

fn with_terminal<T>(show: impl FnOnce(&mut DefaultTerminal) -> io::Result<T>) -> io::Result<T> {
    // Dropped last: the terminal's own end shows the cursor before the screen is left.
    let _taken = Taken;
    let mut terminal = ratatui::try_init()?;
    show(&mut terminal)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::example;
    use nix::pty::{OpenptyResult, openpty};
    use nix::sys::termios::{Termios, tcgetattr};
    use std::fs::File;
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::process::{Child, Command};
    use std::sync::mpsc;

    const CHILD: &str = "MIGRATE_TEST_SCREEN";
    const ENTERED: &str = "\x1b[?1049h";
    const LEFT: &str = "\x1b[?1049l";

    /// This test again, alone, as a process on a terminal of its own: a view that ends as it is told.
    #[test]
    fn child() {
        let Ok(how) = std::env::var(CHILD) else { return };
        let (sender, receiver) = mpsc::channel();
        sender.send(example::intervals(1).remove(0)).unwrap();
        let stop = AtomicBool::new(false);
        match how.as_str() {
            "key" => run(&receiver, &stop).unwrap(),
            "senders" => std::thread::scope(|scope| {
                scope.spawn(move || drop(sender));
                run(&receiver, &stop).unwrap();
            }),
            "stop" => std::thread::scope(|scope| {
                scope.spawn(|| stop.store(true, Ordering::Relaxed));
                run(&receiver, &stop).unwrap();
            }),
            "panic" => with_terminal(|terminal| {
                terminal.draw(|frame| Screen::new().draw(frame))?;
                panic!("on purpose")
            })
            .unwrap(),
            other => panic!("{other}"),
        }
    }

    fn start(how: &str, terminal: &OwnedFd) -> Child {
        let end = || terminal.try_clone().unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rates::screen::terminal::tests::child", "--nocapture", "--test-threads=1"])
            .env(CHILD, how)
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap()
    }

    /// What a view wrote that ended in this way, and the terminal's settings before and after.
    fn played(how: &str) -> (String, Termios, Termios) {
        let OpenptyResult { master, slave } = openpty(&size(), None).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let mut child = start(how, &slave);
        let mut master = File::from(master);
        let mut written = Vec::new();
        let mut told = how != "key";
        let kept = slave.try_clone().unwrap();
        drop(slave);
        // The settings are asked for through an end that is kept open, so the output has no end by itself.
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        loop {
            let more = output.recv_timeout(Duration::from_millis(20));
            let quiet = more.is_err();
            written.extend(more.unwrap_or_default());
            if !told && String::from_utf8_lossy(&written).contains("CONTAINER") {
                master.write_all(b"q").unwrap();
                told = true;
            }
            if quiet && child.try_wait().unwrap().is_some() {
                break;
            }
        }
        (String::from_utf8_lossy(&written).into_owned(), before, tcgetattr(&kept).unwrap())
    }

    fn size() -> nix::pty::Winsize {
        nix::pty::Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }
    }

    #[test]
    fn however_a_view_ends_the_terminal_is_as_it_was() {
        for how in ["key", "senders", "stop", "panic"] {
            let (written, before, after) = played(how);
            assert_eq!(before, after, "{how}");
            let (entered, left) = (written.rfind(ENTERED), written.rfind(LEFT));
            assert!(entered.is_some() && entered < left, "{how}: {written:?}");
            let (hidden, shown) = (written.rfind("\x1b[?25l"), written.rfind("\x1b[?25h"));
            assert!(hidden < shown || hidden.is_none(), "{how}: {written:?}");
        }
    }

    #[test]
    fn a_panic_is_told_where_it_can_be_read() {
        let (written, ..) = played("panic");
        assert!(written.find(LEFT) < written.find("on purpose"), "{written:?}");
    }
}
