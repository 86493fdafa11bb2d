//! Runs the benchmarks of packets, and keeps what they print as pages.
//!
//! Knows nothing about what is measured.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::{bpf, demo, run, setup};

/// Which benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Every one of the others
    All,
    /// The program alone, with the kernel's test runner
    Program,
    /// Events of denied packets, beside none, and counters
    Events,
    /// Look-ups in an image, with the kernel's test runner
    Lookups,
    /// The whole way into a socket, beside nothing and beside nftables
    Path,
    /// Requests, connections and bytes over TCP, beside nothing and beside nftables
    Tcp,
    /// A SYN flood beside 100,000 live flows, beside nothing and beside nftables
    Flood,
    /// What the daemon promises: edits, a start, memory, idleness
    Daemon,
}

/// Asks for pages below `docs/performance`.
const WRITE: &str = "--write";

/// Builds the object and runs the benchmark, which prints its own figures.
pub(crate) fn run(what: What, arguments: &[String]) -> anyhow::Result<()> {
    setup::run(false)?;
    bpf::build()?;
    let write = arguments.iter().any(|word| word == WRITE);
    let arguments: Vec<&String> = arguments.iter().filter(|word| *word != WRITE).collect();
    if what != What::All {
        return one(what, &arguments, write);
    }
    let each = What::value_variants().iter().filter(|one| **one != What::All);
    // One that fails keeps its last page, and does not stop the next ones.
    let mut problems = Vec::new();
    for what in each {
        if let Err(error) = one(*what, &arguments, write) {
            problems.push(format!("{}: {error:#}", name(*what)));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(())
}

fn one(what: What, arguments: &[&String], write: bool) -> anyhow::Result<()> {
    let mut cargo = match what {
        What::All => bail!("all is not one"),
        What::Program => {
            run::cargo(&["run", "--release", "--package", "hostfw-parity", "--bin", "bench", "--"])
        }
        What::Events => {
            demo::build_binaries()?;
            run::cargo(&["run", "--quiet", "--package", "hostfw-bench", "--", "events"])
        }
        What::Lookups => {
            run::cargo(&["run", "--quiet", "--package", "hostfw-bench", "--", "lookups"])
        }
        What::Path => packets("path")?,
        What::Tcp => packets("tcp")?,
        What::Flood => packets("flood")?,
        What::Daemon => {
            // A release build: it is the daemon that is measured, and it is
            // looked for beside the benchmark.
            let packages = ["--package", "hostfw-daemon", "--package", "hostfw-cli"];
            let mut binaries = run::cargo(&["build", "--release", "--quiet", "--bins"]);
            run::shown(binaries.args(packages))?;
            run::cargo(&[
                "run",
                "--release",
                "--quiet",
                "--package",
                "hostfw-bench",
                "--",
                "daemon",
            ])
        }
    };
    cargo.args(arguments);
    if write { written(&pages(), &name(what), &mut cargo) } else { run::shown(&mut cargo) }
}

/// As it is typed.
fn name(what: What) -> String {
    what.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Shows what the command prints, and makes it a page when all went well.
fn written(folder: &Path, name: &str, command: &mut Command) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let line = run::line(command);
    println!("$ {line}");
    // Charts go beside the page.
    command.env("HOSTFW_BENCH_CHARTS", folder).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start `{line}`"))?;
    let output = child.stdout.take().context("the output was asked for")?;
    let mut text = format!("# Figures of `cargo xtask bench {name}`\n\n");
    for line in BufReader::new(output).lines() {
        let line = line.context("read the figures")?;
        println!("{line}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    let page = folder.join(format!("{name}.md"));
    fs::write(&page, text.trim_end().to_owned() + "\n")
        .with_context(|| format!("write {}", page.display()))?;
    println!("written: {}", page.display());
    Ok(())
}

fn pages() -> PathBuf {
    run::root().join("docs/performance")
}

/// One of the benchmarks that start the daemon and measure what is in the kernel.
fn packets(what: &str) -> anyhow::Result<Command> {
    setup::benchmarks()?;
    demo::build_binaries()?;
    Ok(run::cargo(&["run", "--quiet", "--package", "hostfw-bench", "--", what]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_benchmark_has_a_page_of_its_own() {
        let names: Vec<String> = What::value_variants().iter().map(|what| name(*what)).collect();
        assert!(names.contains(&"path".to_owned()));
        let mut once = names.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), names.len());
    }

    #[test]
    fn a_page_is_what_a_benchmark_printed_and_stays_when_one_fails() {
        let name = format!("hostfw-pages-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let run =
            |script: &str| written(&folder, "stand-in", Command::new("sh").args(["-c", script]));
        run("echo '12 ns '; touch $HOSTFW_BENCH_CHARTS/chart.svg").expect("all goes well");
        run("echo broken; exit 1").expect_err("a failure is one");
        let page = fs::read_to_string(folder.join("stand-in.md")).expect("a page");
        assert_eq!(page, "# Figures of `cargo xtask bench stand-in`\n\n12 ns\n");
        assert!(folder.join("chart.svg").is_file());
        fs::remove_dir_all(folder).expect("a folder of the test");
    }
}
