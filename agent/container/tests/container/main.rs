//! Containers for real. Needs root, and fails without it. The program is the example `shim`, which cargo builds with
//! all of the crate's tests, but not with `--test container` alone: then `cargo build --example shim` comes first.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod ending;
mod execs;
mod files;
mod harness;
mod sessions;
mod shims;
mod socket;
mod streams;
mod surroundings;
mod terminals;
