//! Everything that a change must pass, in one run with one closing line.
//!
//! The tests decide; this module only starts them, lets their output through
//! and adds up what they report.

use std::{
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    beside::Beside,
    bpf, deny, lab, package,
    programs::{self, Kind, Program},
    rollout, run, setup,
};

/// Where tests stand that wait for time to pass more than they compute. They
/// begin, and what only computes fills the time until the machines are done.
const WAITING: [&str; 3] = ["tests/parity", SCENARIOS, LAB];
const SCENARIOS: &str = "tests/scenario";
const LAB: &str = "tests/lab";

/// Format, lints, tests without and with privilege.
///
/// A step that fails does not stop the next ones: one run shows everything.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut sum = Sum::new();
    // By its path: what is built below takes the place of the running file.
    let itself = std::env::current_exe().context("find this program")?;
    setup::run(false)?;
    setup::machines()?;
    setup::packages()?;
    setup::benchmarks()?;
    // Waits for the network and for the disk while others compute.
    let mut fetch = Command::new(&itself);
    fetch.arg("fetch");
    let fetched = Beside::start(vec![("machines".into(), fetch)]);
    sum.heading("kernel object");
    bpf::build()?;

    sum.check("format", &mut run::cargo(&["fmt", "--all", "--check"]));
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    sum.check("lints", &mut run::cargo(&lints));
    sum.dependencies();
    for (name, mut command) in rollout::judgements() {
        sum.check(name, &mut command);
    }
    sum.heading("programs of the tests");
    let (programs, built) = programs::tests();
    sum.all_well("programs of the tests", built);
    sum.heading("packages");
    let packages = lab::packages().and_then(|()| package::development_programs());
    let packages = sum.all_well("packages", packages);
    let is_fetched = sum.beside(fetched);
    sum.programs(programs, packages.as_deref(), is_fetched, &itself);

    let mut documentation = run::cargo(&["test", "--doc", "--no-fail-fast"]);
    sum.tests("documentation", documentation.args(programs::EVERYTHING));
    sum.close()
}

/// What passed and what failed so far; a check counts as one test.
struct Sum {
    begin: Instant,
    passed: u64,
    failed: u64,
    problems: Vec<String>,
    /// What could not be looked at here, which is neither.
    unchecked: Vec<String>,
}

impl Sum {
    fn new() -> Self {
        let (problems, unchecked) = (Vec::new(), Vec::new());
        Self { begin: Instant::now(), passed: 0, failed: 0, problems, unchecked }
    }

    /// Says what begins, and when.
    fn heading(&self, name: &str) {
        println!("[{} s] {name}", self.begin.elapsed().as_secs());
    }

    fn check(&mut self, name: &str, command: &mut Command) {
        self.heading(name);
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

    /// Runs the programs of the tests. Those that need what is not there are not
    /// run; that it is not there is a failure already.
    fn programs(
        &mut self,
        mut programs: Vec<Program>,
        packages: Option<&Path>,
        is_fetched: bool,
        itself: &Path,
    ) {
        let command = |program: &Program| {
            let mut command = program.command();
            // What is packaged is what scenarios start.
            command.envs(lab::places()).envs(packages.map(|folder| ("HOSTFW_PROGRAMS", folder)));
            command
        };
        programs.retain(|program| {
            let is_there = match program.place.as_str() {
                LAB => packages.is_some() && is_fetched,
                SCENARIOS => packages.is_some(),
                _ => true,
            };
            is_there && program.kind == Kind::Tests
        });
        let turn = |program: &Program| WAITING.iter().position(|place| program.place == *place);
        programs.sort_by_key(|program| turn(program).unwrap_or(WAITING.len()));

        // An emulated machine keeps one processor busy; one at a time leaves the
        // other to tests that are timed, as do those that only the patience of
        // this program limits.
        let mut kernels = Command::new("nice");
        kernels.args(["-n", "19"]).arg(itself).args(["vm", "--at-a-time", "1"]);
        let mut beside = vec![("other kernels".to_owned(), kernels)];
        let is_machines = |program: &Program| program.place == LAB && program.name == "kernels";
        for machines in programs.extract_if(.., |program| is_machines(program)) {
            let mut one_by_one = command(&machines);
            one_by_one.arg("--test-threads=1");
            beside.push((machines.title(), one_by_one));
        }
        let beside = Beside::start(beside);
        for program in programs {
            self.tests(&program.title(), &mut command(&program));
        }
        self.beside(beside);
    }

    fn failure(&mut self, name: &str, what: &str) {
        self.failed += 1;
        self.problems.push(format!("{name}: {what}"));
    }

    /// The value, or a failure.
    fn all_well<T>(&mut self, name: &str, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.failure(name, &format!("{error:#}"))).ok()
    }

    /// Runs test programs and adds up their result lines.
    fn tests(&mut self, name: &str, command: &mut Command) {
        self.heading(name);
        let line = run::line(command);
        println!("$ {line}");
        let failed_before = self.failed;
        let status = by_line(&mut run::tied(command), |line| self.line(name, line));
        self.ended(name, &line, status, failed_before);
    }

    /// Waits for what ran beside, shows what it wrote, and adds up its result
    /// lines; true when nothing failed.
    fn beside(&mut self, beside: Beside) -> bool {
        let failed_before_all = self.failed;
        for done in beside.wait() {
            let took = done.took.as_secs();
            self.heading(&format!("{}, which ran beside for {took} s", done.name));
            println!("$ {}", done.line);
            let failed_before = self.failed;
            done.text.lines().for_each(|line| self.line(&done.name, line));
            self.ended(&done.name, &done.line, done.status, failed_before);
        }
        self.failed == failed_before_all
    }

    fn line(&mut self, name: &str, line: &str) {
        println!("{line}");
        if let Some((passed, failed)) = result_of(line) {
            self.passed += passed;
            self.failed += failed;
        } else if let Some(test) = failed_test(line) {
            self.problems.push(format!("{name}: {test}"));
        }
    }

    /// A run that fails without a result line (it does not build, it was killed)
    /// counts as a failure.
    fn ended(
        &mut self,
        name: &str,
        line: &str,
        status: io::Result<ExitStatus>,
        failed_before: u64,
    ) {
        match status {
            Ok(status) if status.success() => {}
            Ok(_) if self.failed > failed_before => {}
            Ok(status) => self.failure(name, &format!("`{line}` ended with {status}")),
            Err(error) => self.failure(name, &format!("`{line}` cannot be run: {error}")),
        }
    }

    /// The closing lines.
    fn close(self) -> anyhow::Result<()> {
        for problem in &self.problems {
            println!("failed: {problem}");
        }
        for what in &self.unchecked {
            println!("NOT CHECKED: {what}");
        }
        println!("took {} s", round_up(self.begin.elapsed()));
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed > 0 {
            bail!("not everything passed");
        }
        Ok(())
    }
}

/// Runs the command and gives away each line that it writes.
fn by_line(command: &mut Command, mut each: impl FnMut(&str)) -> io::Result<ExitStatus> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    for line in BufReader::new(output).lines() {
        each(&line?);
    }
    child.wait()
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
        let dies = || {
            let mut dies = Command::new("sh");
            dies.args(["-c", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; exit 9"]);
            dies
        };
        let mut sum = Sum::new();
        sum.tests("stand-in", &mut dies());
        assert_eq!((sum.passed, sum.failed), (2, 1));
        assert!(!sum.beside(Beside::start(vec![("stand-in".into(), dies())])));
        assert_eq!((sum.passed, sum.failed), (4, 2));
        assert!(sum.close().is_err());
    }

    #[test]
    fn what_fails_beside_is_named() {
        let mut fails = Command::new("sh");
        fails.args(["-c", "echo 'test a ... FAILED'; echo 3 passed, 1 failed; exit 1"]);
        let mut sum = Sum::new();
        assert!(!sum.beside(Beside::start(vec![("machines".into(), fails)])));
        assert_eq!((sum.passed, sum.failed), (3, 1));
        assert_eq!(sum.problems, ["machines: a"]);
    }

    #[test]
    fn what_cannot_be_started_is_a_failure() {
        let mut sum = Sum::new();
        sum.tests("nothing", &mut Command::new("/no/such/program"));
        assert_eq!((sum.passed, sum.failed), (0, 1));
    }
}
