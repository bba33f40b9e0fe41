//! Gets one file over connections that stay, as fast as it is told, and compares every byte. Beside them it can open new
//! connections all the time.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Common, Report,
    control::Control,
    http::{Connection, RequestError, Response},
    tally::Tally,
};
use crate::workloads;

const PATH: &str = "/file.bin";

#[derive(Debug, Clone, Copy)]
pub struct WebOptions {
    pub common: Common,
    /// Connections that stay.
    pub connections: usize,
    /// Of all connections that stay together; `None`: each asks again as soon as it was answered.
    pub requests_per_s: Option<u32>,
    /// Connections opened, used once and closed; 0: none.
    pub new_connections_per_s: u32,
    /// Stop by itself after this time.
    pub limit: Option<Duration>,
}

/// Runs until told to stop, and reports.
pub fn run(options: &WebOptions) -> Report {
    let control = Control::new(options.connections);
    let tally = Arc::new(Tally::default());
    let file: Arc<[u8]> = workloads::web_file().into();
    let options = *options;
    let mut threads = Vec::new();
    for member in 0..options.connections {
        let (control, tally, file) = (control.clone(), tally.clone(), file.clone());
        threads.push(thread::spawn(move || stay(&options, member, &control, &tally, &file)));
    }
    if options.new_connections_per_s > 0 {
        let (control, tally) = (control.clone(), tally.clone());
        threads.push(thread::spawn(move || come_and_go(&options, &control, &tally, &file)));
    }
    control.conduct(options.limit);
    let connections = control.served_since_mark();
    for thread in threads {
        thread.join().expect("a client thread panicked");
    }
    Report { connections, ..tally.report() }
}

/// One connection that stays.
fn stay(options: &WebOptions, member: usize, control: &Control, tally: &Tally, file: &[u8]) {
    let who = format!("connection {member}");
    let attempt = || -> Result<(), RequestError> {
        let mut connection = Connection::open(options.common.server, options.common.timeout)?;
        let members = u32::try_from(options.connections).unwrap_or(u32::MAX);
        let interval = options.requests_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * members / rate.max(1));
        // Connections ask at different times; after a pause nothing is made up for.
        let mut next = Instant::now() + interval * u32::try_from(member).unwrap_or(0) / members;
        while control.sleep_until(next) {
            let (mark, sent) = (control.current_mark(), Instant::now());
            let response = connection.request("GET", PATH, &[], b"")?;
            if correct(&who, &response, file, tally) {
                tally.answered(sent.elapsed());
                control.served(member, mark);
            }
            next = (next + interval).max(Instant::now());
        }
        Ok(())
    };
    if let Err(error) = attempt() {
        tally.failed(&who, &error);
        control.lost(member);
    }
}

/// New connections all the time, each in a thread, so that one that waits does not keep the next from coming.
fn come_and_go(options: &WebOptions, control: &Control, tally: &Arc<Tally>, file: &Arc<[u8]>) {
    let interval = Duration::from_secs(1) / options.new_connections_per_s;
    let common = options.common;
    let mut next = Instant::now();
    let mut threads = Vec::new();
    while control.sleep_until(next) {
        let (tally, file) = (tally.clone(), file.clone());
        threads.push(thread::spawn(move || {
            let who = "a new connection";
            let sent = Instant::now();
            let once = Connection::open(common.server, common.timeout)
                .and_then(|mut connection| connection.request("GET", PATH, &[("Connection", "close")], b""));
            match once {
                Ok(response) if correct(who, &response, &file, &tally) => {
                    tally.came_and_went(sent.elapsed());
                }
                Ok(_) => {}
                Err(error) => tally.failed(who, &error),
            }
        }));
        next = (next + interval).max(Instant::now());
        threads.retain(|thread| !thread.is_finished());
    }
    for thread in threads {
        thread.join().expect("a client thread panicked");
    }
}

fn correct(who: &str, response: &Response, file: &[u8], tally: &Tally) -> bool {
    if response.status != 200 {
        tally.wrong(format!("{who}: status {}", response.status));
    } else if response.body != file {
        let first = response.body.iter().zip(file).position(|(got, want)| got != want);
        tally.wrong(format!("{who}: a wrong body of {} bytes, first difference {first:?}", response.body.len()));
    } else {
        return true;
    }
    false
}
