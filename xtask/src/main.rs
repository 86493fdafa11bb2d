//! The one door to everything that is done with this repository: set-up, the
//! kernel object, tests, mutants, demo, packages and benchmarks.
//!
//! Each verb is a module that says what it runs before it runs it. Nothing here
//! knows what hostfw does; it knows which programs to call in which order.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "xtask talks to the person at the terminal"
)]

mod bench;
mod beside;
mod bpf;
mod demo;
mod deny;
mod lab;
mod mutants;
mod notices;
mod package;
mod programs;
mod rollout;
mod run;
mod sbom;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

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
        /// How many machines run at a time.
        #[arg(long, default_value_t = 2, value_name = "N")]
        at_a_time: usize,
    },
    /// Fetch the kernels and the Debian that machines of the tests run.
    Fetch,
    /// The package on a host with systemd, from install to purge.
    Lab,
    /// The four-host demonstration with its table of probes.
    Demo,
    /// What a packet costs; with `--write`, also as a page of docs/performance.
    Bench {
        /// Which benchmark.
        #[arg(value_enum, default_value = "program")]
        what: bench::What,
        /// Passed on to the benchmark: for `path` numbers of rules,
        /// `growth`, `--rounds N`.
        /// `--write` keeps what it prints.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Change the verdict logic bit by bit and see whether a test notices.
    Mutants {
        /// Passed on to cargo-mutants, such as `--file judge.rs`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build packages, twice each to see that both are alike, and judge them.
    Package {
        /// Which kinds; both when none is named.
        #[arg(value_enum)]
        kinds: Vec<package::Kind>,
        /// Which machines; both when none is named.
        #[arg(long = "machine", value_enum)]
        machines: Vec<package::Machine>,
        /// Counts packages of one version.
        #[arg(long, default_value_t = 1, value_name = "N")]
        revision: u32,
    },
    /// Write what the programs are made of, as CycloneDX, into target/package.
    Sbom,
    /// Check licences, sources and duplicate versions of the dependencies.
    Deny,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup { with_deny } => {
            setup::run(with_deny).and_then(|()| setup::machines()).and_then(|()| setup::packages())
        }
        Verb::Bpf => bpf::run(),
        Verb::Test => test::run(),
        Verb::Vm { kernels, at_a_time } => vm::run(&kernels, at_a_time),
        Verb::Fetch => setup::packages().and_then(|()| vm::fetch()).and_then(|()| lab::fetch()),
        Verb::Lab => lab::run(),
        Verb::Demo => demo::run(),
        Verb::Bench { what, arguments } => bench::run(what, &arguments),
        Verb::Mutants { arguments } => mutants::run(&arguments),
        Verb::Package { kinds, machines, revision } => {
            let kinds = if kinds.is_empty() { package::Kind::value_variants() } else { &kinds };
            let machines =
                if machines.is_empty() { package::Machine::value_variants() } else { &machines };
            package::run(kinds, machines, revision)
        }
        Verb::Sbom => sbom::run(),
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
