//! The life of a package on a real host: installed, configured, reloaded,
//! upgraded and downgraded under traffic, booted, and taken away.
#![allow(clippy::print_stdout, reason = "counts are worth showing")]

mod boot;
mod deb;
mod rpm;
mod scene;
