//! Records like a small server's, for tests and measurements: of each request the wake-up, the read, two clock reads, a file's
//! status, the write and the close, with bytes that differ from request to request as real ones do.

use migrate_common::record::{Class, HEADER_BYTES, Header, Kind};

use crate::record::Record;

/// A generator that gives the same records for the same seed.
#[derive(Debug)]
pub struct Synthetic {
    seq: u64,
    time_ns: u64,
    state: u64,
}

impl Synthetic {
    pub fn new(seed: u64) -> Self {
        Self { seq: 0, time_ns: 1_000_000_000, state: seed | 1 }
    }

    /// xorshift64: enough to be incompressible.
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn call(&mut self, nr: i32, class: Class, args: [u64; 6], ret: i64) -> Record {
        self.time_ns += 2_000 + self.random() % 9_000;
        let head = Header {
            len: HEADER_BYTES as u32,
            kind: Kind::Syscall as u8,
            class: class as u8,
            tid: 1,
            seq: self.seq,
            time_ns: self.time_ns,
            nr,
            ret,
            args,
            ..Header::default()
        };
        self.seq += 1;
        Record { head, payload: Vec::new() }
    }

    /// The records of one request.
    pub fn request(&mut self) -> Vec<Record> {
        let fd = 8 + self.random() % 100;
        let mut wait = self.call(232, Class::Anon, [6, 0x7fff_1000, 512, u64::MAX, 0, 0], 1);
        wait.push_segment(0x7fff_1000, &[1u64.to_le_bytes().as_slice(), &fd.to_le_bytes()[..4]].concat());
        let text =
            format!("GET /item/{} HTTP/1.1\r\nHost: 10.77.0.2\r\nX-Id: {:016x}\r\n\r\n", self.random() % 10_000, self.random());
        let buffer = 0x5555_0000 + fd * 0x1000;
        let mut read = self.call(0, Class::Inet, [fd, buffer, 4096, 0, 0, 0], text.len() as i64);
        read.push_segment(buffer, text.as_bytes());
        let mut clock = self.call(228, Class::None, [1, 0x7fff_0f00, 0, 0, 0, 0], 0);
        clock.push_segment(
            0x7fff_0f00,
            &[(self.time_ns / 1_000_000_000).to_le_bytes(), (self.time_ns % 1_000_000_000).to_le_bytes()].concat(),
        );
        let mut stat = self.call(5, Class::OwnFile, [fd + 1, 0x7fff_0e00, 0, 0, 0, 0], 0);
        stat.push_segment(0x7fff_0e00, &[0x42; 144]);
        let write = self.call(1, Class::Inet, [fd, buffer + 0x800, 1400, 0, 0, 0], 1400);
        let close = self.call(3, Class::OwnFile, [fd + 1, 0, 0, 0, 0, 0], 0);
        vec![wait, read, clock, stat, write, close]
    }

    /// The records of `n` requests.
    pub fn requests(&mut self, n: usize) -> Vec<Record> {
        (0..n).flat_map(|_| self.request()).collect()
    }

    /// An exec and its image.
    pub fn exec(&mut self) -> Vec<Record> {
        let mut exec = self.call(0, Class::None, [1, 0, 0, 0, 0, 0], 0);
        exec.head.kind = Kind::Exec as u8;
        let mut image = exec.clone();
        image.head.kind = Kind::Image as u8;
        image.head.args = [0x7fff_ff00, 0x40_1000, 0, 0, 0, 0];
        image.push_segment(0x7fff_ff00, b"an initial stack");
        vec![exec, image]
    }
}
