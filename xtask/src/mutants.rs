//! Changes the code that decides a packet's fate, one operator at a time, and
//! runs the tests: a change that none of them notices is a gap in the tests.
//!
//! Installs nothing, and is no part of `cargo xtask test`: it takes an hour.
//! What is changed, and what is left alone for which reason, stands in
//! `.cargo/mutants.toml`.

use anyhow::bail;

use crate::run;

/// Runs cargo-mutants where it is installed; arguments are passed on to it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if run::find_program("cargo-mutants").is_none() {
        bail!("cargo-mutants is not installed: run `cargo install cargo-mutants --locked`");
    }
    // One job: tests that wait for each other's builds time out.
    let mut cargo = run::cargo(&["mutants", "--jobs", "1", "--output", "target"]);
    cargo.args(arguments);
    // The changed copies are built beside themselves, without line numbers that
    // nobody reads.
    cargo.env_remove("CARGO_TARGET_DIR").env("CARGO_PROFILE_DEV_DEBUG", "0");
    run::shown(&mut cargo)
}
