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
}

/// Every workload of the demo.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "idle", image: Image::Busybox, command: &["/bin/sh", "/count.sh"], load: Load::None, check: Check::Count },
    Workload { name: "web", image: Image::Nginx, command: &[], load: web(0), check: Check::Clients },
    Workload { name: "static", image: Image::Nginx, command: &[], load: web(20), check: Check::Clients },
    Workload {
        name: "dynamic",
        image: Image::Python,
        command: &[],
        load: Load::Book { port: 8080, sessions: 10, requests_per_s: 50 },
        check: Check::Clients,
    },
    Workload { name: "prefork", image: Image::Guests, command: &["/guests", "prefork"], load: Load::None, check: Check::Chain },
    Workload { name: "inputs", image: Image::Guests, command: &["/guests", "inputs"], load: Load::None, check: Check::Chain },
];

const fn web(new_connections_per_s: u32) -> Load {
    Load::Web { port: 80, connections: 100, requests_per_s: Some(500), new_connections_per_s }
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
