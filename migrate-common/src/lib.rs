//! What the eBPF programs and userspace agree on: record layouts, the maps' values, and the system call table.
#![no_std]

pub mod clocks;
pub mod maps;
pub mod record;
pub mod syscalls;
