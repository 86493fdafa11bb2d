//! Everything that a change must pass, in one run with one closing line.
//!
//! The tests decide; this module only starts them, lets their output through
//! and adds up what they report.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    bpf, demo, deny, lab, rollout, run, setup,
    vm::{self, Outcome},
};

/// Format, lints, tests without and with privilege.
///
/// A step that fails does not stop the next ones: one run shows everything.
pub(crate) fn run() -> anyhow::Result<()> {
    let begin = Instant::now();
    setup::run(false)?;
    setup::packages()?;
    setup::benchmarks()?;
    bpf::build()?;

    let mut sum = Sum::default();
    sum.check("format", &mut run::cargo(&["fmt", "--all", "--check"]));
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    sum.check("lints", &mut run::cargo(&lints));
    sum.dependencies();
    for (name, mut command) in rollout::judgements() {
        sum.check(name, &mut command);
    }
    sum.tests("default members", &mut run::cargo(&["test", "--no-fail-fast"]))?;
    sum.tests("fuzz corpus", &mut run::cargo(&["test", "--package", "hostfw-fuzz"]))?;
    let conformance = ["run", "--package", "hostfw-conformance"];
    sum.tests("conformance", &mut run::cargo(&conformance))?;
    match demo::build_binaries() {
        Ok(()) => {
            let privileged = ["--package", "hostfw-parity", "--package", "hostfw-scenario"];
            let mut cargo = run::cargo(&["test", "--no-fail-fast"]);
            sum.tests("parity and scenarios", cargo.args(privileged))?;
            // Alone: what runs beside it would be measured too.
            let guard = ["test", "--package", "hostfw-bench"];
            sum.tests("guard of costs", &mut run::cargo(&guard))?;
        }
        Err(error) => sum.failure("daemon and command", &format!("{error:#}")),
    }

    match lab::tests() {
        Ok(mut cargo) => sum.tests("packages on a host", &mut cargo)?,
        Err(error) => sum.failure("packages on a host", &format!("{error:#}")),
    }

    match vm::outcomes(&vm::ALWAYS) {
        Ok(outcomes) => outcomes.iter().for_each(|outcome| sum.kernel(outcome)),
        Err(error) => sum.failure("other kernels", &format!("{error:#}")),
    }

    for problem in &sum.problems {
        println!("failed: {problem}");
    }
    for what in &sum.unchecked {
        println!("NOT CHECKED: {what}");
    }
    println!("took {} s", round_up(begin.elapsed()));
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}

/// What passed and what failed so far; a check counts as one test.
#[derive(Default)]
struct Sum {
    passed: u64,
    failed: u64,
    problems: Vec<String>,
    /// What could not be looked at here, which is neither.
    unchecked: Vec<String>,
}

impl Sum {
    fn check(&mut self, name: &str, command: &mut Command) {
        match run::shown(command) {
            Ok(()) => self.passed += 1,
            Err(error) => self.failure(name, &format!("{error:#}")),
        }
    }

    /// Licences, sources and versions need files of this repository only; known
    /// holes need a database that not every machine can reach.
    fn dependencies(&mut self) {
        // An unwatched run installs what it needs; building it takes minutes.
        if !deny::is_installed() && std::env::var_os("CI").is_some() {
            self.check("cargo-deny", &mut deny::install());
        }
        if !deny::is_installed() {
            self.unchecked.push(format!("dependencies: {}", deny::MISSING));
            return;
        }
        self.check("dependencies", &mut deny::rules());
        match deny::fetch() {
            Ok(()) => self.check("advisories", &mut deny::advisories()),
            Err(error) => self.unchecked.push(format!("advisories: {error:#}")),
        }
    }

    fn failure(&mut self, name: &str, what: &str) {
        self.failed += 1;
        self.problems.push(format!("{name}: {what}"));
    }

    /// Adds what one emulated kernel came to.
    fn kernel(&mut self, Outcome { asked, verdict }: &Outcome) {
        match verdict {
            Ok(verdict) => {
                self.passed += verdict.passed;
                self.failed += verdict.failed;
                let failed = verdict.failed_tests.iter();
                self.problems.extend(failed.map(|test| format!("kernel {asked}: {test}")));
            }
            Err(error) => self.failure(&format!("kernel {asked}"), &format!("{error:#}")),
        }
    }

    /// Runs test programs and adds up their result lines. A run that fails
    /// without one (it does not build, it was killed) counts as a failure.
    fn tests(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let line = run::line(command);
        println!("$ {line}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start `{line}`"))?;
        let output = child.stdout.take().context("the output was asked for")?;
        let failed_before = self.failed;
        for line in BufReader::new(output).lines() {
            let line = line.context("read the output of the tests")?;
            println!("{line}");
            if let Some((passed, failed)) = result_of(&line) {
                self.passed += passed;
                self.failed += failed;
            } else if let Some(test) = failed_test(&line) {
                self.problems.push(format!("{name}: {test}"));
            }
        }
        let status = child.wait().with_context(|| format!("wait for `{line}`"))?;
        if !status.success() && self.failed == failed_before {
            self.failure(name, &format!("`{line}` ended with {status}"));
        }
        Ok(())
    }
}

/// The two numbers of `test result: ok. 3 passed; 0 failed; 0 ignored; ...`, or
/// of `3 passed, 0 failed`, which is all of a line of the conformance run.
pub(crate) fn result_of(line: &str) -> Option<(u64, u64)> {
    let counts = match line.strip_prefix("test result: ") {
        Some(result) => result.split_once(". ")?.1,
        None => line,
    };
    let counts: Vec<&str> = counts.split([';', ',']).map(str::trim).collect();
    let count = |word: &str| {
        let part = counts.iter().find_map(|part| part.strip_suffix(word))?;
        part.parse().ok()
    };
    Some((count(" passed")?, count(" failed")?))
}

/// The name in `test module::name ... FAILED`.
pub(crate) fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

fn round_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up_and_other_lines_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; \
                    0 filtered out; finished in 0.10s";
        assert_eq!(result_of(line), Some((12, 3)));
        assert_eq!(result_of("test a_rule_is_read ... ok"), None);
        assert_eq!(result_of("test result: nonsense"), None);
        assert_eq!(result_of("12 passed, 3 failed"), Some((12, 3)));
        assert_eq!(result_of("vectors/a.jsonl.gz: 12 passed, 3 failed"), None);
    }

    #[test]
    fn a_failing_test_is_named() {
        assert_eq!(
            failed_test("test tests::a_rule_is_read ... FAILED"),
            Some("tests::a_rule_is_read")
        );
        assert_eq!(failed_test("test tests::a_rule_is_read ... ok"), None);
    }

    #[test]
    fn a_run_that_dies_without_a_result_line_counts_as_a_failure() {
        let mut sum = Sum::default();
        let mut dies = Command::new("sh");
        dies.args(["-c", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 9"]);
        sum.tests("stand-in", &mut dies).expect("a shell can be started");
        assert_eq!((sum.passed, sum.failed), (2, 1));
    }
}
