//! The client of the lab: puts load on a workload and checks every answer. Orders on standard input, lines of JSON on standard
//! output; see `migrate_tests::client`.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use migrate_tests::client::{self, BookOptions, Common, Event, LedgerOptions, RedisOptions, ThroughputOptions, WebOptions};

/// Puts load on a workload of the lab and checks every answer.
///
/// Standard input takes the orders `mark` (count from here) and `stop`; its end stops the client too.
#[derive(Debug, Parser)]
struct Cli {
    /// Address and port of the server
    #[arg(long)]
    server: SocketAddr,
    /// A request that takes longer has failed
    #[arg(long, default_value_t = 60)]
    timeout_s: u64,
    /// Wait so long for the server to listen at all
    #[arg(long, default_value_t = 30)]
    start_s: u64,
    /// Stop by itself after this many seconds
    #[arg(long)]
    limit_s: Option<f64>,
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Gets one file over connections that stay
    Web {
        #[arg(long, default_value_t = 100)]
        connections: usize,
        /// Of all connections together; without it as fast as answers come
        #[arg(long)]
        requests_per_s: Option<u32>,
        /// Beside them, open new connections all the time
        #[arg(long, default_value_t = 0)]
        new_connections_per_s: u32,
    },
    /// Posts to the guest book and reads it
    Book {
        #[arg(long, default_value_t = 10)]
        sessions: usize,
        #[arg(long, default_value_t = 50)]
        requests_per_s: u32,
    },
    /// SETs, GETs and INCRs beside a large amount of data
    Redis {
        #[arg(long, default_value_t = 50)]
        clients: usize,
        #[arg(long, default_value_t = 500)]
        requests_per_s: u32,
        /// Data that the server makes at the start, in megabytes
        #[arg(long, default_value_t = 240)]
        data_mib: usize,
    },
    /// Writes into a ledger, each entry of which follows from the one before
    Ledger {
        #[arg(long, default_value_t = 20)]
        sessions: usize,
        #[arg(long, default_value_t = 100)]
        requests_per_s: u32,
        #[arg(long, default_value = "/entry")]
        path: String,
        /// Of so many requests one writes; the others get a file
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        write_every: u64,
    },
    /// How many SETs and GETs a Redis server answers to a client that costs less than the server
    ///
    /// It takes no orders and stops by itself. Prints one line, {"commands":…,"seconds":…}, or fails at the first answer that is not right.
    Throughput {
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
        clients: u16,
        /// Send commands for so long, once all connections stand
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let common = Common { server: cli.server, timeout: Duration::from_secs(cli.timeout_s) };
    let limit = cli.limit_s.map(Duration::from_secs_f64);
    if !client::wait_listening(cli.server, Duration::from_secs(cli.start_s)) {
        eprintln!("lab-client: nothing listens on {} after {} s", cli.server, cli.start_s);
        return ExitCode::FAILURE;
    }
    let report = match cli.load {
        Load::Web { connections, requests_per_s, new_connections_per_s } => {
            client::run_web(&WebOptions { common, connections, requests_per_s, new_connections_per_s, limit })
        }
        Load::Book { sessions, requests_per_s } => client::run_book(&BookOptions { common, sessions, requests_per_s, limit }),
        Load::Redis { clients, requests_per_s, data_mib } => {
            client::run_redis(&RedisOptions { common, clients, requests_per_s, data_mib, limit })
        }
        Load::Ledger { sessions, requests_per_s, path, write_every } => {
            client::run_ledger(&LedgerOptions { common, sessions, requests_per_s, path: &path, write_every, limit })
        }
        Load::Throughput { clients, seconds } => return throughput(common, clients, seconds),
    };
    client::say(&Event::Report(Box::new(report)));
    ExitCode::SUCCESS
}

fn throughput(common: Common, clients: u16, seconds: u32) -> ExitCode {
    let duration = Duration::from_secs(seconds.into());
    match client::run_throughput(&ThroughputOptions { common, clients: clients.into(), duration }) {
        Ok(done) => {
            client::say(&done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lab-client: {error}");
            ExitCode::FAILURE
        }
    }
}
