//! Runs the benchmarks of packets.
//!
//! Knows nothing about what is measured.

use clap::ValueEnum;

use crate::{bpf, demo, run, setup};

/// Which benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The program alone, with the kernel's test runner
    Program,
    /// The whole way into a socket, beside nothing and beside nftables
    Path,
}

/// Builds the object and runs the benchmark, which prints its own figures.
pub(crate) fn run(what: What, arguments: &[String]) -> anyhow::Result<()> {
    setup::run(false)?;
    bpf::build()?;
    let mut cargo = match what {
        What::Program => {
            run::cargo(&["run", "--release", "--package", "hostfw-parity", "--bin", "bench"])
        }
        What::Path => {
            setup::benchmarks()?;
            // It starts them, and measures what is in the kernel.
            demo::build_binaries()?;
            run::cargo(&["run", "--quiet", "--package", "hostfw-bench", "--", "path"])
        }
    };
    if matches!(what, What::Program) {
        cargo.arg("--");
    }
    cargo.args(arguments);
    run::shown(&mut cargo)
}
