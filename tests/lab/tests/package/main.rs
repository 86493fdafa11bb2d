//! The life of a package on a real host: installed, configured, reloaded,
//! upgraded and downgraded under traffic, booted, and taken away; and other ways
//! onto a host.
#![allow(clippy::print_stdout, reason = "counts are worth showing")]

mod boot;
mod deb;
mod rollout;
mod rpm;
mod scene;
