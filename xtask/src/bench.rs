//! Runs the benchmark of the parity package on a release build.
//!
//! Knows nothing about what is measured.

use crate::{bpf, run, setup};

/// Builds the object and runs the benchmark, which prints its own figures.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    setup::run(false)?;
    bpf::build()?;
    let mut cargo =
        run::cargo(&["run", "--release", "--package", "hostfw-parity", "--bin", "bench"]);
    cargo.arg("--").args(arguments);
    run::shown(&mut cargo)
}
