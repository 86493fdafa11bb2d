//! What the test program says on the console of a machine: its results, and
//! facts about the kernel, each on a line of its own among the kernel's lines.

use std::time::Duration;

use anyhow::{Context, bail};

use super::{Outcome, machine::Said};
use crate::test::{failed_test, result_of};

/// Leads a line of facts, as in tests/vm/src/report.rs.
const MARK: &str = "hostfw-vm: ";

/// What the tests came to on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The package with its version.
    pub(crate) package: String,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// The tests that failed, by name.
    pub(crate) failed_tests: Vec<String>,
    pub(crate) took: Duration,
    /// The verifier's steps and the sizes of each program.
    pub(crate) programs: Vec<Program>,
    /// How programs were attached.
    pub(crate) attached: String,
    /// One sentence for each feature that is missing.
    pub(crate) lacks: Vec<String>,
}

/// One program, in the kernel's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    name: String,
    /// Verified instructions, bytes translated, bytes of machine code; `-`
    /// where the kernel does not tell.
    numbers: Vec<String>,
}

/// True for a line that the test program has written.
pub(crate) fn is_ours(line: &str) -> bool {
    line.starts_with(MARK)
}

impl Verdict {
    /// Reads a console; one without a result is an error that shows its end.
    pub(crate) fn read(said: &Said, package: &str) -> anyhow::Result<Self> {
        let Said { lines, took } = said;
        let result = lines.iter().find_map(|line| result_of(line));
        let (passed, failed) = result.with_context(|| {
            let end = lines.iter().rev().take(40).rev().cloned().collect::<Vec<_>>();
            format!("{package}: the tests did not come to an end:\n{}", end.join("\n"))
        })?;
        if passed + failed == 0 {
            bail!("{package}: no test was run");
        }
        if failed > 0 {
            // Pushed in: results are counted once, at the end.
            println!("{package}:\n  {}", lines.join("\n  "));
        }
        let facts = |kind: &str| {
            let lead = format!("{MARK}{kind} ");
            lines.iter().filter_map(move |line| Some(line.strip_prefix(&lead)?.to_owned()))
        };
        let program = |words: String| {
            let mut words = words.split_whitespace().map(str::to_owned);
            Some(Program { name: words.next()?, numbers: words.collect() })
        };
        Ok(Self {
            package: package.to_owned(),
            passed,
            failed,
            failed_tests: lines
                .iter()
                .filter_map(|line| failed_test(line))
                .map(str::to_owned)
                .collect(),
            took: *took,
            programs: facts("program").filter_map(program).collect(),
            attached: facts("attached").next().unwrap_or_else(|| "-".to_owned()),
            lacks: facts("lacks").collect(),
        })
    }
}

/// One line for each program of each kernel, then what the kernels lack.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| kernel | program | verified instructions | translated bytes | machine code bytes \
         | attached | passed | failed | seconds |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut lacks = String::new();
    for Outcome { asked, verdict } in outcomes {
        let Ok(verdict) = verdict else {
            text += &format!("| {asked} | no result | - | - | - | - | - | - | - |\n");
            continue;
        };
        let Verdict { package, passed, failed, took, programs, attached, lacks: without, .. } =
            verdict;
        let seconds = took.as_secs();
        for Program { name, numbers } in programs {
            let numbers = numbers.join(" | ");
            text += &format!(
                "| {asked} | {name} | {numbers} | {attached} | {passed} | {failed} | {seconds} |\n"
            );
        }
        lacks += &format!("\n{asked} is {package}");
        for sentence in without {
            lacks += &format!("; {sentence}");
        }
    }
    text + &lacks
}

/// The lines of a test run for all kernels together, and how many failed. A
/// kernel without a verdict is a failure.
pub(crate) fn result(outcomes: &[Outcome]) -> (String, u64) {
    let (mut text, mut passed, mut failed) = (String::new(), 0, 0);
    for Outcome { asked, verdict } in outcomes {
        match verdict {
            Ok(verdict) => {
                passed += verdict.passed;
                failed += verdict.failed;
                for test in &verdict.failed_tests {
                    text += &format!("test {asked}: {test} ... FAILED\n");
                }
            }
            Err(error) => {
                failed += 1;
                text += &format!("{asked}: {error:#}\ntest {asked}: no verdict ... FAILED\n");
            }
        }
    }
    (text + &format!("{passed} passed, {failed} failed"), failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Said {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Said { lines, took: Duration::from_secs(7) }
    }

    #[test]
    fn results_and_facts_are_found_among_the_kernels_lines() {
        let said = said(&[
            "Booting from ROM..",
            "hostfw-vm: kernel 6.1.0-56-cloud-amd64",
            "hostfw-vm: lacks tcx needs Linux 6.6: devices are filtered with clsact",
            "[    1.2] veth: loaded",
            "hostfw-vm: program hostfw_in_eth - 34128 19177",
            "hostfw-vm: attached clsact",
            "test result: ok. 5 passed; 0 failed; 0 ignored",
        ]);
        let verdict = Verdict::read(&said, "linux-image-x 6.1").expect("a result");
        assert_eq!((verdict.passed, verdict.failed), (5, 0));
        let outcome = Outcome { asked: "6.1".into(), verdict: Ok(verdict) };
        let table = table(&[outcome]);
        let row = "| 6.1 | hostfw_in_eth | - | 34128 | 19177 | clsact | 5 | 0 | 7 |\n";
        assert!(table.contains(row), "{table}");
        assert!(table.ends_with("6.1; tcx needs Linux 6.6: devices are filtered with clsact"));
    }

    #[test]
    fn what_failed_is_named_and_counted_as_in_a_test_run() {
        let lines =
            said(&["test a ... ok", "test b ... FAILED", "test result: x. 1 passed; 1 failed"]);
        let some = Verdict::read(&lines, "x").expect("a result");
        let outcomes = [
            Outcome { asked: "6.1".into(), verdict: Ok(some) },
            Outcome { asked: "5.10".into(), verdict: Err(anyhow::anyhow!("1 passed, 0 failed")) },
        ];
        let (text, failed) = result(&outcomes);
        assert_eq!(failed, 2);
        let named: Vec<&str> = text.lines().filter_map(failed_test).collect();
        assert_eq!(named, ["6.1: b", "5.10: no verdict"]);
        assert_eq!(text.lines().filter_map(result_of).collect::<Vec<_>>(), [(1, 2)]);
    }

    #[test]
    fn a_console_without_a_result_is_an_error() {
        let panic = said(&["hostfw-vm: kernel 5.10", "Kernel panic - not syncing"]);
        let error = Verdict::read(&panic, "x").expect_err("no result");
        assert!(error.to_string().contains("Kernel panic"), "{error}");
        let nothing = said(&["test result: ok. 0 passed; 0 failed; 0 ignored"]);
        assert!(Verdict::read(&nothing, "x").is_err());
    }
}
