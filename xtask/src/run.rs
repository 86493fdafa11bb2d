//! Running other programs: each command is shown first and named when it fails.
//!
//! Knows nothing about what the programs are for.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// The folder that holds the workspace manifest.
pub(crate) fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().map_or_else(|| manifest_dir.to_owned(), Path::to_owned)
}

/// Cargo itself, in the workspace root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Compiler flags that keep the folders of this machine out of what is built,
/// so that two machines build the same bytes.
pub(crate) fn hidden_folders() -> anyhow::Result<Vec<String>> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let cargo = cargo.context("cargo's folder is not known: set CARGO_HOME or HOME")?;
    let flag = |folder: &Path, name| format!("--remap-path-prefix={}={name}", folder.display());
    Ok(vec![flag(&root(), "/usr/src/hostfw"), flag(&cargo, "/usr/src/cargo")])
}

/// The command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    command.get_args().fold(name.into_owned(), |line, word| line + " " + &word.to_string_lossy())
}

/// The same command, which is told to end when whoever started it does.
pub(crate) fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.arg("--pdeathsig=TERM").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied
}

/// Shows the command, runs it with this terminal, and fails unless it succeeds.
pub(crate) fn shown(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// What the command writes, or nothing when it cannot be run or fails.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Where a program is, system folders included.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
