//! Builds what the demonstration needs and runs it.
//!
//! The demonstration itself is a program of the scenario package.

use crate::{bpf, run, setup};

/// Builds daemon, command and demo, then runs the demo with their paths.
pub(crate) fn run() -> anyhow::Result<()> {
    setup::run(false)?;
    bpf::build()?;
    build_binaries()?;
    run::shown(&mut run::cargo(&[
        "run",
        "--quiet",
        "--package",
        "hostfw-scenario",
        "--bin",
        "demo",
    ]))
}

/// Builds `hostfwd` and `hostfw`, which scenarios start as a user would.
pub(crate) fn build_binaries() -> anyhow::Result<()> {
    let packages = ["--package", "hostfw-daemon", "--package", "hostfw-cli"];
    let mut cargo = run::cargo(&["build", "--quiet", "--bins"]);
    run::shown(cargo.args(packages))
}
