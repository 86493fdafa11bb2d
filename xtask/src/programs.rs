//! The programs that tests and manual pages are made by, built from everything
//! at once and known by what cargo says of them.
//!
//! Cargo gives a dependency the features that the selected packages ask of it.
//! Each other selection compiles much of what is below once more, so everybody
//! in this program who wants one selects everything.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context;
use serde_json::Value;

use crate::run;

/// Everything but the kernel's programs, which this machine cannot start.
pub(crate) const EVERYTHING: [&str; 3] = ["--workspace", "--exclude", "hostfw-bpf"];

/// A program, and where it is at home.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    /// The folder of its package, such as `tests/lab`.
    pub(crate) place: String,
    /// As its package calls it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The tests of a library or a program, or a file of tests.
    Tests,
    Example,
    Other,
}

impl Program {
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.place, self.name)
    }

    /// Starts it as cargo does.
    pub(crate) fn command(&self) -> Command {
        let folder = run::root().join(&self.place);
        let mut command = Command::new(&self.file);
        command.env("CARGO_MANIFEST_DIR", &folder).current_dir(folder);
        command
    }
}

/// What was built, in an order that is always the same, and what became of the
/// build: a package that is broken leaves the others to be tested.
pub(crate) fn tests() -> (Vec<Program>, anyhow::Result<()>) {
    built(run::cargo(&["test", "--no-run", "--no-fail-fast"]).args(EVERYTHING))
}

/// The examples, with the same dependencies as the tests.
pub(crate) fn examples() -> anyhow::Result<Vec<Program>> {
    let (mut programs, result) =
        built(run::cargo(&["build", "--quiet", "--examples"]).args(EVERYTHING));
    programs.retain(|program| program.kind == Kind::Example);
    result.map(|()| programs)
}

fn built(cargo: &mut Command) -> (Vec<Program>, anyhow::Result<()>) {
    let line = run::line(cargo);
    println!("$ {line}");
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = match cargo.stderr(Stdio::inherit()).output() {
        Ok(output) => output,
        Err(error) => return (Vec::new(), Err(error).context("start cargo")),
    };
    let messages = String::from_utf8_lossy(&output.stdout);
    let root = run::root();
    let mut programs: Vec<Program> =
        messages.lines().filter_map(|line| program(line, &root)).collect();
    programs.sort();
    let result = if output.status.success() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("`{line}` ended with {}", output.status))
    };
    (programs, result)
}

/// Reads a message of cargo about a program; others are about libraries.
fn program(message: &str, root: &Path) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let file = PathBuf::from(message["executable"].as_str()?);
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let place = manifest.parent()?.strip_prefix(root).ok()?.to_str()?.to_owned();
    let kind = match message["target"]["kind"][0].as_str()? {
        _ if message["profile"]["test"] == true => Kind::Tests,
        "example" => Kind::Example,
        _ => Kind::Other,
    };
    Some(Program { place, name: text(&message["target"]["name"])?, kind, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(target: &str, is_test: bool, executable: &str) -> String {
        format!(
            "{{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/r/tests/lab/Cargo.toml\",\
             \"target\":{{\"kind\":[\"{target}\"],\"name\":\"kernels\"}},\
             \"profile\":{{\"test\":{is_test}}},\"executable\":{executable}}}"
        )
    }

    #[test]
    fn a_program_is_known_by_its_package_and_name() {
        let kind = |target, is_test| {
            let message = message(target, is_test, "\"/r/target/x-1\"");
            let program = program(&message, Path::new("/r")).expect("a program");
            assert_eq!((program.place.as_str(), program.name.as_str()), ("tests/lab", "kernels"));
            assert_eq!(program.file, Path::new("/r/target/x-1"));
            program.kind
        };
        assert_eq!(kind("test", true), Kind::Tests);
        assert_eq!(kind("bin", true), Kind::Tests);
        assert_eq!(kind("bin", false), Kind::Other);
        assert_eq!(kind("example", false), Kind::Example);
    }

    #[test]
    fn what_cannot_be_started_is_no_program() {
        assert_eq!(program(&message("lib", false, "null"), Path::new("/r")), None);
        assert_eq!(
            program("{\"reason\":\"build-finished\",\"success\":true}", Path::new("/r")),
            None
        );
    }

    #[test]
    fn a_build_that_fails_is_told() {
        let mut fails = Command::new("sh");
        fails.args(["-c", "exit 101"]);
        let (programs, result) = built(&mut fails);
        assert!(programs.is_empty());
        assert!(result.is_err());
    }
}
