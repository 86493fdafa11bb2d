//! Hosts of a lab with an operating system of their own and systemd as the first
//! process: a [`Guest`] shares the kernel of this machine, a [`Machine`] is
//! emulated and has its own.
//!
//! Knows how such a host is booted, asked and switched off, and what it installs
//! packages from; nothing about what is in them.

#![allow(clippy::print_stderr, reason = "a failing test shows what it saw")]

mod guest;
mod install;
mod machine;

use std::path::PathBuf;

pub use crate::{
    guest::Guest,
    install::{NEWER, OLDER},
    machine::Machine,
};

/// What a command on such a host said.
#[derive(Debug)]
pub struct Said {
    /// Whether it ended well.
    pub ok: bool,
    /// Output and errors.
    pub text: String,
}

fn given(variable: &str) -> PathBuf {
    let given = std::env::var_os(variable);
    PathBuf::from(given.unwrap_or_else(|| {
        panic!("{variable} names nothing: `cargo xtask lab` prepares and runs this test")
    }))
}

const JOURNAL: &str = "journalctl --no-pager --output=cat --lines=40 --unit=hostfw.service";
