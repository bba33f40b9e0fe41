//! `cargo xtask lab`: two hosts and a client on this machine.

use std::{
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use migrate_tests::{
    images::{self, Image, Store},
    lab::{self, Lab},
};

use crate::{build, paths, setup};

#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    action: Action,
    /// Where the lab keeps its files; labs in different folders do not meet
    #[arg(long, global = true, env = "MIGRATE_LAB", value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Brings the lab up, or leaves it as it is when it is up
    Up(UpArgs),
    /// Ends exactly what `up` started
    Down,
    /// Says what runs
    Status,
    /// Runs a program inside h1, h2 or cl (the client's network); exits with its code
    Exec {
        host: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Loads images into a host, building them first if needed
    Load {
        /// h1 or h2
        host: String,
        /// busybox, guests, nginx, python, redis, apache, nodejs, java, build; none: the first four
        images: Vec<String>,
    },
    /// Starts, kills or restarts the agent of a host
    Agent { host: String, action: AgentAction },
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// What each link carries in each direction, as `tc` writes it
    #[arg(long, default_value = "1gbit")]
    rate: String,
    /// Start no agents (containers with `--runtime migrate` will not start)
    #[arg(long)]
    no_agents: bool,
    /// The `migrate` program to use instead of the one that is built here
    #[arg(long, value_name = "FILE")]
    migrate: Option<PathBuf>,
    /// Neither install nor build anything first
    #[arg(long)]
    no_build: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AgentAction {
    Start,
    Kill,
    Restart,
}

/// The folder to use.
pub fn dir(root: &Path, given: Option<PathBuf>) -> PathBuf {
    given.unwrap_or_else(|| lab::default_dir(&paths::target(root)))
}

pub fn run(root: &Path, args: LabArgs) -> Result<ExitCode> {
    let dir = dir(root, args.dir);
    match args.action {
        Action::Up(up) => {
            if !up.no_build {
                setup::run(root, setup::Options { quiet: true, ..setup::Options::default() })?;
                if up.migrate.is_none() && !up.no_agents {
                    build::all(root, false)?;
                }
            }
            let migrate = build::chosen(up.migrate.as_deref(), build::binary(root, "migrate"))?;
            Lab::up(&dir, &lab::Options { rate: up.rate, agents: !up.no_agents, migrate })?;
            status(&dir, args.json)?;
        }
        Action::Down => {
            let was_up = Lab::down(&dir)?;
            if args.json {
                println!("{}", serde_json::json!({ "was_up": was_up, "dir": dir }));
            } else {
                println!("{}", if was_up { "the lab is down" } else { "there was no lab" });
            }
        }
        Action::Status => status(&dir, args.json)?,
        Action::Exec { host, command } => {
            let lab = Lab::open(&dir)?;
            let mut inside =
                if host == lab::CLIENT { lab.client(&command[0])? } else { lab.host(&host)?.command(&command[0])? };
            let status = inside.args(&command[1..]).status().with_context(|| format!("cannot start {} in {host}", command[0]))?;
            return Ok(exit_code(status));
        }
        Action::Load { host, images } => {
            let host = Lab::open(&dir)?.host(&host)?;
            let chosen = chosen(&images)?;
            let store = store(root, &chosen)?;
            for image in chosen {
                let loaded = store.load(&host, image)?;
                println!("{:<12} {}", image.tag(), if loaded { "loaded" } else { "present" });
            }
        }
        Action::Agent { host, action } => {
            let mut lab = Lab::open(&dir)?;
            lab.with_host(&host, |host| {
                if action != AgentAction::Start {
                    host.kill_agent()?;
                }
                if action != AgentAction::Kill { host.start_agent(&[]) } else { Ok(()) }
            })?;
            status(&dir, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The images of these names; those that tests need for none.
fn chosen(names: &[String]) -> Result<Vec<Image>> {
    let named = |name: &String| {
        let image = Image::every().find(|image| image.tag() == format!("lab/{name}"));
        let names = || Image::every().map(|image| image.tag().trim_start_matches("lab/")).collect::<Vec<_>>().join(", ");
        image.with_context(|| format!("no image is called {name}; there are {}", names()))
    };
    if names.is_empty() { Ok(Image::ALL.to_vec()) } else { names.iter().map(named).collect() }
}

/// The images' store, with the programs built that these images are made from.
pub fn store(root: &Path, images: &[Image]) -> Result<Store> {
    let guests = if images.contains(&Image::Guests) { build::static_guests(root)? } else { PathBuf::new() };
    Ok(Store { cache: images::default_cache(&paths::target(root)), guests })
}

fn status(dir: &Path, json: bool) -> Result<()> {
    let status = Lab::status(dir)?;
    if json {
        println!("{}", serde_json::to_string(&status)?);
        return Ok(());
    }
    if !status.up {
        println!("no lab in {}", status.dir.display());
        return Ok(());
    }
    println!("lab in {}, links {}", status.dir.display(), status.rate);
    for host in status.hosts {
        let on = |up| if up { "up" } else { "down" };
        println!("{} {:<10} docker {:<4} agent {}", host.name, host.address, on(host.docker), on(host.agent));
        for container in host.containers {
            println!("   {container}");
        }
    }
    Ok(())
}

/// The exit code of a program that we ran for somebody; 128 and the signal's number when a signal ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
