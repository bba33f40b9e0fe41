//! `migrate rates`: what a container's log would cost, measured on a container that runs, from outside.

pub mod sample;

pub use sample::Sample;
