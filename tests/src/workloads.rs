//! What is moved: for each workload its image, its command, the load on it, and how to tell that nothing was lost.

use serde::Serialize;

use crate::images::Image;

/// Bytes of the file that nginx serves.
pub const WEB_FILE_BYTES: usize = 64 * 1024;

/// A program to move, with everything needed to judge the move.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Workload {
    pub name: &'static str,
    pub image: Image,
    /// Empty: the image's own.
    pub command: &'static [&'static str],
    pub load: Load,
    pub check: Check,
    /// Whether `cargo xtask test` moves it too; the others take long.
    pub tested: bool,
}

/// What the clients do meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Nothing connects.
    None,
    /// GET of one file over connections that stay.
    Web {
        port: u16,
        connections: usize,
        /// All connections together; `None`: as fast as answers come.
        requests_per_s: Option<u32>,
        /// New connections that are opened, used once and closed, beside the ones that stay.
        new_connections_per_s: u32,
    },
    /// Sessions that post to the guest book and read it.
    Book { port: u16, sessions: usize, requests_per_s: u32 },
    /// SET, GET and INCR beside data that the server makes at the start.
    Redis { port: u16, clients: usize, requests_per_s: u32, data_mib: usize },
    /// Sessions that write into one ledger by GET of `path`; of `write_every` requests one writes, the others get the file.
    Ledger { port: u16, sessions: usize, requests_per_s: u32, path: &'static str, write_every: u64 },
}

/// What must hold afterwards, beside what the clients saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The clients' word is enough.
    Clients,
    /// Standard output and `/data/count` hold 1, 2, 3 … with none missing or twice, and grow.
    Count,
    /// Standard output holds numbered lines of digests, with none missing or twice, and grows.
    Chain,
    /// The same, and each digest follows from the one before it and from the events in its line.
    Links,
}

/// Every workload of the demo.
pub const WORKLOADS: &[Workload] = &[
    tested("idle", Image::Busybox, &["/bin/sh", "/count.sh"], Load::None, Check::Count),
    tested("web", Image::Nginx, &[], web(0), Check::Clients),
    tested("static", Image::Nginx, &[], web(20), Check::Clients),
    tested("dynamic", Image::Python, &[], Load::Book { port: 8080, sessions: 10, requests_per_s: 50 }, Check::Clients),
    tested("prefork", Image::Guests, &["/guests", "prefork"], Load::None, Check::Chain),
    tested("inputs", Image::Guests, &["/guests", "inputs"], Load::None, Check::Chain),
    tested("handover", Image::Guests, &["/guests", "handover"], Load::None, Check::Chain),
    with("table", Image::Guests, &["/guests", "table"], Load::None, Check::Chain),
    tested("threads", Image::Guests, &["/guests", "threads"], Load::None, Check::Links),
    tested("shm", Image::Guests, &["/guests", "shm"], Load::None, Check::Links),
    with("signals", Image::Guests, &["/guests", "signals"], Load::None, Check::Links),
    with(
        "redis",
        Image::Redis,
        REDIS,
        Load::Redis { port: 6379, clients: 50, requests_per_s: 500, data_mib: 240 },
        Check::Clients,
    ),
    with("apache-event", Image::Apache, &apache("EVENT"), APACHE_LOAD, Check::Clients),
    with("apache-prefork", Image::Apache, &apache("PREFORK"), APACHE_LOAD, Check::Clients),
    tested("python-threads", Image::Python, &["/usr/bin/python3", "/app/threads.py"], ledger(20, 50), Check::Clients),
    with("nodejs", Image::Nodejs, &[], SERVER_LOAD, Check::Clients),
    with("java", Image::Java, &[], SERVER_LOAD, Check::Clients),
    tested("sqlite", Image::Python, &["/usr/bin/python3", "/app/sqlite.py", "delete"], ledger(10, 50), Check::Clients),
    with("sqlite-wal", Image::Python, &["/usr/bin/python3", "/app/sqlite.py", "wal"], ledger(10, 50), Check::Clients),
];

/// Without snapshots; the data is made and compared by `DEBUG`.
const REDIS: &[&str] =
    &["/usr/bin/redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no", "--enable-debug-command", "yes"];
/// One of ten requests runs the CGI program, the others get the file.
const APACHE_LOAD: Load = Load::Ledger { port: 80, sessions: 100, requests_per_s: 150, path: "/cgi-bin/ledger", write_every: 10 };
/// Half of the requests write, the others get the file.
const SERVER_LOAD: Load = Load::Ledger { port: 8080, sessions: 20, requests_per_s: 50, path: "/entry", write_every: 2 };

const fn with(name: &'static str, image: Image, command: &'static [&'static str], load: Load, check: Check) -> Workload {
    Workload { name, image, command, load, check, tested: false }
}

/// One that `cargo xtask test` moves, too.
const fn tested(name: &'static str, image: Image, command: &'static [&'static str], load: Load, check: Check) -> Workload {
    Workload { tested: true, ..with(name, image, command, load, check) }
}

const fn web(new_connections_per_s: u32) -> Load {
    Load::Web { port: 80, connections: 100, requests_per_s: Some(500), new_connections_per_s }
}

const fn ledger(sessions: usize, requests_per_s: u32) -> Load {
    Load::Ledger { port: 8080, sessions, requests_per_s, path: "/entry", write_every: 1 }
}

const fn apache(mpm: &'static str) -> [&'static str; 7] {
    ["/usr/sbin/apache2", "-f", "/etc/apache2/lab.conf", "-D", "FOREGROUND", "-D", mpm]
}

/// The workload of that name.
pub fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

/// What nginx serves: bytes that look random and repeat in no short distance, so that a shifted body is a wrong one.
pub fn web_file() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..WEB_FILE_BYTES)
        .map(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[7]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for workload in WORKLOADS {
            assert_eq!(WORKLOADS.iter().filter(|other| other.name == workload.name).count(), 1);
            assert_eq!(find(workload.name).unwrap().name, workload.name);
        }
        assert!(find("nothing").is_none());
    }

    #[test]
    fn a_shifted_body_differs_from_the_file() {
        let file = web_file();
        assert_eq!(file.len(), WEB_FILE_BYTES);
        for shift in [1, 8, 512, 1448, 4096, 32768] {
            assert_ne!(file[shift..], file[..WEB_FILE_BYTES - shift]);
        }
    }
}
