//! Checks the dependencies against `deny.toml`: licences, sources and versions,
//! then known holes, which need the database of advisories.
//!
//! Building cargo-deny takes minutes, so it is installed only when asked, and in
//! continuous integration.

use std::process::Command;

use anyhow::{Context, bail};

use crate::run;

pub(crate) const MISSING: &str = "cargo-deny is not installed: run `cargo xtask setup --with-deny`";

/// Checks everything; a database that cannot be had is a failure here.
pub(crate) fn run() -> anyhow::Result<()> {
    if !is_installed() {
        bail!(MISSING);
    }
    run::shown(&mut rules())?;
    fetch()?;
    run::shown(&mut advisories())
}

pub(crate) fn is_installed() -> bool {
    run::find_program("cargo-deny").is_some()
}

/// Builds it.
pub(crate) fn install() -> Command {
    run::cargo(&["install", "cargo-deny", "--locked"])
}

/// What can be checked without the network.
pub(crate) fn rules() -> Command {
    run::cargo(&["deny", "check", "bans", "licenses", "sources"])
}

/// Brings the database of advisories up to date.
///
/// # Errors
/// It cannot be had, so nothing is known about holes, good or bad.
pub(crate) fn fetch() -> anyhow::Result<()> {
    run::shown(&mut run::cargo(&["deny", "fetch", "db"]))
        .context("the database of advisories cannot be fetched")
}

/// Known holes, by the database that was fetched.
pub(crate) fn advisories() -> Command {
    run::cargo(&["deny", "check", "--disable-fetch", "advisories"])
}
