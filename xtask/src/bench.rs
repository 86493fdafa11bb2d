//! Runs the benchmarks of packets, and keeps what they print as pages.
//!
//! Knows nothing about what is measured.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
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
    /// The whole way into a socket, beside nothing and beside nftables
    Path,
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
        What::Path => {
            setup::benchmarks()?;
            // It starts them, and measures what is in the kernel.
            demo::build_binaries()?;
            run::cargo(&["run", "--quiet", "--package", "hostfw-bench", "--", "path"])
        }
    };
    cargo.args(arguments);
    if write { written(name(what), &mut cargo) } else { run::shown(&mut cargo) }
}

/// As it is typed.
fn name(what: What) -> String {
    what.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Shows what the command prints, and makes it a page when all went well.
fn written(name: String, command: &mut Command) -> anyhow::Result<()> {
    let folder = pages();
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let line = run::line(command);
    println!("$ {line}");
    // Charts go beside the page.
    command.env("HOSTFW_BENCH_CHARTS", &folder).stdout(Stdio::piped());
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
}
