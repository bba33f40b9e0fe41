//! What the privileged tests, the demo and the benchmarks share: two hosts on one machine, their images, and clients that check
//! every answer.

pub mod client;
pub mod convergence;
pub mod images;
pub mod lab;
pub mod migration;
pub mod workloads;
