//! Live migration of Docker containers by logging and replay.
//!
//! The data path is the module list: [`probe`] captures, [`ring`] orders, [`round`] cuts and compresses, [`wire`] ships,
//! [`replay`] feeds the replica, [`verify`] proves it equal, [`golive`] hands over. [`container`] speaks with Docker, the OCI runtime and cgroups,
//! [`agent`] ties it together, [`cli`] is what people see, [`displace`] runs instructions elsewhere, [`sys`] holds the system calls that no library has.

pub mod agent;
pub mod cli;
pub mod clocks;
pub mod container;
pub mod displace;
pub mod golive;
pub mod inodes;
pub mod probe;
pub mod rates;
pub mod record;
pub mod replay;
pub mod ring;
pub mod round;
pub mod sys;
pub mod verify;
pub mod wire;
