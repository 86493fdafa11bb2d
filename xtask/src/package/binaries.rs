//! Builds the programs of a package: static, stripped, and without a trace of
//! the folder that they were built in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use super::{Machine, epoch_s, folder, layout::Made};
use crate::{notices, programs, run, sbom};

/// How much the compiler shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What is published.
    Release,
    /// What tests install: the same in everything but speed and size.
    Dev,
}

/// Builds daemon and command for the machine, and what describes them.
pub(crate) fn build(machine: Machine, profile: Profile) -> anyhow::Result<Made> {
    let place = folder();
    let built = compile(machine, profile)?;
    let made = Made {
        hostfwd: built.join("hostfwd"),
        hostfw: built.join("hostfw"),
        sbom: place.join("hostfw.cdx.json"),
        notices: place.join("notices.txt"),
        config: run::root().join("etc/hostfw.yaml"),
        manual: place.join("manual"),
    };
    for program in [&made.hostfwd, &made.hostfw] {
        shows_no_folder(program)?;
        run::shown(&mut started(machine, program, "--version"))?;
    }
    write_manual(&made.manual)?;
    sbom::write(&made.sbom, epoch_s()?)?;
    notices::write(&made.notices)?;
    Ok(made)
}

/// Builds daemon and command into a folder, with the program that tests them on
/// other kernels where they are for tests: it is static too, and made of the
/// same.
pub(super) fn compile(machine: Machine, profile: Profile) -> anyhow::Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", machine.cpu());
    let place = folder();
    bring_library(&target)?;
    let mut cargo = run::cargo(&["build", "--quiet", "--package", "hostfw-daemon"]);
    cargo.args(["--package", "hostfw-cli", "--bins", "--target", &target, "--target-dir"]);
    cargo.arg(&place);
    if profile == Profile::Dev {
        cargo.args(["--package", "hostfw-vm"]);
    }
    let (name, built) = match profile {
        Profile::Release => ("release", "release"),
        Profile::Dev => ("dev", "debug"),
    };
    cargo.args(["--profile", name, "--config", &format!("profile.{name}.strip=\"symbols\"")]);
    // Nobody sees them in a stripped program, and they take time.
    cargo.args(["--config", &format!("profile.{name}.debug=0")]);
    let flags = [vec!["-Ctarget-feature=+crt-static".to_owned()], run::hidden_folders()?].concat();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if machine.cpu() != std::env::consts::ARCH {
        let variable = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        cargo.env(variable, format!("{}-linux-gnu-gcc", machine.cpu()));
    }
    run::shown(&mut cargo)?;
    Ok(place.join(&target).join(built))
}

/// The program with an argument, emulated where the machine is another one.
fn started(machine: Machine, program: &Path, argument: &str) -> Command {
    let mut command = if machine.cpu() == std::env::consts::ARCH {
        Command::new(program)
    } else {
        let mut emulator = Command::new(format!("qemu-{}", machine.cpu()));
        emulator.arg(program);
        emulator
    };
    command.arg(argument);
    command
}

/// Brings the standard library for the target where rustup can.
fn bring_library(target: &str) -> anyhow::Result<()> {
    let ask = ["--print", "target-libdir", "--target", target];
    let library = run::answer(Command::new("rustc").args(ask)).context("run rustc")?;
    if Path::new(&library).is_dir() {
        return Ok(());
    }
    if run::find_program("rustup").is_none() {
        bail!("rustc has no standard library for {target}: install it, then run this again");
    }
    run::shown(Command::new("rustup").args(["target", "add", target]))
}

/// Two people who build the same sources should get the same bytes.
fn shows_no_folder(program: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let home = std::env::var("HOME").unwrap_or_default() + "/.";
    for folder in [run::root().display().to_string(), home] {
        let found = bytes.windows(folder.len()).any(|window| window == folder.as_bytes());
        if found {
            bail!("{} contains `{folder}`, a path of this machine", program.display());
        }
    }
    Ok(())
}

/// Manual pages and completions, which are alike for every machine.
fn write_manual(folder: &PathBuf) -> anyhow::Result<()> {
    let writers = programs::examples()?;
    let writers: Vec<_> = writers.iter().filter(|one| one.name.ends_with("-manual")).collect();
    ensure!(writers.len() == 2, "each of the two programs has a manual, not {writers:?}");
    writers.iter().try_for_each(|writer| run::shown(writer.command().arg(folder)))
}
