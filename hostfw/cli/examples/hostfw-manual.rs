//! Writes the manual pages of `hostfw` and its completions for bash, zsh and
//! fish into a folder. `cargo xtask package` runs it.
//!
//! An example, so that what it needs is no part of the command, which is why it
//! takes in the one file of the command that it describes.

#[allow(dead_code, reason = "only the description of the arguments is wanted here")]
#[path = "../src/arguments.rs"]
mod arguments;
#[allow(dead_code, reason = "the arguments name it")]
#[path = "../src/failure.rs"]
mod failure;

use std::{env, fs, path::PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from).context("name the folder to write to")?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let command = arguments::Arguments::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "hostfw", &folder)
            .with_context(|| format!("write the completion for {shell}"))?;
    }
    clap_mangen::generate_to(command, &folder).context("write the manual pages")?;
    Ok(())
}
