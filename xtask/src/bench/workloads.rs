//! What is measured, how it is loaded, and what its ratio is to reach.

use migrate_tests::{images::Image, lab::UNLIMITED};

/// One row of the benchmark.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub name: &'static str,
    pub image: Image,
    /// Empty: the image's own.
    pub command: &'static [&'static str],
    /// What the lab's links carry, as `tc` writes it.
    pub rate: &'static str,
    pub load: Load,
    /// The least that recorded / not recorded is to be; none where there is no promise.
    pub goal: Option<f64>,
}

/// What the container is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// wrk over connections that stay: GET of what is `at` this port and path.
    Http { connections: u32, at: &'static str },
    /// redis-benchmark: SET and GET of 200 bytes with 100 000 keys, as many of one as of the other.
    Redis { clients: u32, pipeline: u32 },
    /// The same commands, one at a time for each client, by `lab-client throughput`: it costs less than the server.
    RedisLight { clients: u32 },
    /// Nobody connects. The program prints `begin` when it is warm and `end` when it has done its work, then waits; the shell
    /// expands `$AMOUNT` in it. `unit` is what it makes `per_amount` of.
    Batch { unit: &'static str, amount_per_s: u32 },
}

impl Load {
    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Http { .. } => "requests",
            Self::Redis { .. } | Self::RedisLight { .. } => "commands",
            Self::Batch { unit, .. } => unit,
        }
    }
}

/// The lab's file of 64 KB.
pub const FILE: &str = "/file.bin";

/// A processor's work and no system calls. Two million steps are about a second.
const CPU: &[&str] = &[
    "/bin/sh",
    "-c",
    "spin() { awk -v n=$1 'BEGIN { for (i = 0; i < n * 1000000; i++) x = (x * 31 + i) % 65521; print x }'; }; \
     spin 1; echo begin; spin $AMOUNT; echo end; sleep 1000",
];

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "nginx",
        image: Image::Nginx,
        command: &[],
        rate: UNLIMITED,
        load: Load::Http { connections: 100, at: FILE },
        goal: Some(0.93),
    },
    Workload {
        name: "nginx-1gbit",
        image: Image::Nginx,
        command: &[],
        rate: "1gbit",
        load: Load::Http { connections: 100, at: FILE },
        goal: Some(0.99),
    },
    redis("redis-1-client", 1, 1, None),
    redis("redis-50-clients", 50, 1, Some(0.90)),
    redis("redis-pipeline-16", 50, 16, None),
    Workload {
        name: "build",
        image: Image::Build,
        command: &[],
        rate: UNLIMITED,
        load: Load::Batch { unit: "objects", amount_per_s: 20 },
        goal: Some(0.90),
    },
    Workload {
        name: "cpu",
        image: Image::Busybox,
        command: CPU,
        rate: UNLIMITED,
        load: Load::Batch { unit: "million steps", amount_per_s: 2 },
        goal: Some(0.999),
    },
];

const fn redis(name: &'static str, clients: u32, pipeline: u32, goal: Option<f64>) -> Workload {
    Workload { name, image: Image::Redis, command: &[], rate: UNLIMITED, load: Load::Redis { clients, pipeline }, goal }
}
