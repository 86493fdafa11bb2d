//! The one door to everything that is done with this repository: set-up, the
//! kernel object, tests, mutants, demo and benchmarks.
//!
//! Each verb is a module that says what it runs before it runs it. Nothing here
//! knows what hostfw does; it knows which programs to call in which order.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask talks to the person at the terminal"
)]

mod bench;
mod bpf;
mod demo;
mod deny;
mod mutants;
mod run;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, builds, tests, demo and benchmarks of hostfw.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing to build and to test.
    Setup {
        /// Also install cargo-deny, which takes some minutes to build.
        #[arg(long)]
        with_deny: bool,
    },
    /// Build the kernel programs into target/bpf/hostfw.bpf.o.
    Bpf,
    /// Everything that a change must pass: format, lints, all tests.
    Test,
    /// The same tests on other kernels, emulated: 5.10, 6.1 and 6.12, or those
    /// that are named.
    Vm {
        /// Series such as 6.18, or `newest`: whatever Debian has.
        #[arg(value_name = "KERNEL")]
        kernels: Vec<String>,
    },
    /// The four-host demonstration with its table of probes.
    Demo,
    /// Nanoseconds per packet, measured with the kernel's test runner.
    Bench {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Change the verdict logic bit by bit and see whether a test notices.
    Mutants {
        /// Passed on to cargo-mutants, such as `--file judge.rs`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Check licences, sources and duplicate versions of the dependencies.
    Deny,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup { with_deny } => setup::run(with_deny).and_then(|()| setup::machines()),
        Verb::Bpf => bpf::run(),
        Verb::Test => test::run(),
        Verb::Vm { kernels } => vm::run(&kernels),
        Verb::Demo => demo::run(),
        Verb::Bench { arguments } => bench::run(&arguments),
        Verb::Mutants { arguments } => mutants::run(&arguments),
        Verb::Deny => deny::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes, without the backtrace of a Debug print.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
