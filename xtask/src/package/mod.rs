//! `cargo xtask package`: .deb and .rpm from one table of files, built twice and
//! compared, then judged by lintian and rpmlint.
//!
//! Knows the order of the steps; what a package contains stands in `layout`,
//! how each kind is written in `deb` and `rpm`, and what tests install from in
//! `repository`.

mod binaries;
mod deb;
mod layout;
mod repository;
mod rpm;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use clap::ValueEnum;

pub(crate) use self::repository::{programs as development_programs, write as write_repository};

use self::binaries::Profile;
use crate::{bpf, run, setup};

/// Whose name is in the packages.
const MAINTAINER: &str = "hostfw maintainers <maintainers@hostfw.io>";

/// Kinds of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// For Debian and Ubuntu.
    Deb,
    /// For Fedora, RHEL and their relatives.
    Rpm,
}

/// Machines that packages are for, by Debian's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Machine {
    /// As compilers and .rpm name it.
    const fn cpu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// As .deb names it.
    const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

/// What is packaged.
struct Release {
    version: String,
    /// Counts packages of one version.
    revision: u32,
    machine: Machine,
    /// Every moment in the package: that of the commit, in seconds since 1970.
    epoch_s: u64,
}

/// Builds the kernel object, the binaries and the packages, and has them judged.
pub(crate) fn run(kinds: &[Kind], machines: &[Machine], revision: u32) -> anyhow::Result<()> {
    setup::run(false)?;
    setup::packages()?;
    bpf::build()?;
    for machine in machines {
        let made = binaries::build(*machine, Profile::Release)?;
        for kind in kinds {
            let file = twice(*kind, &release(*machine, revision)?, &made, &folder())?;
            judge(*kind, &file)?;
        }
    }
    Ok(())
}

fn release(machine: Machine, revision: u32) -> anyhow::Result<Release> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Release { version, revision, machine, epoch_s: epoch_s()? })
}

/// Where everything of this module is made.
pub(crate) fn folder() -> PathBuf {
    run::root().join("target/package")
}

/// Writes the package two times from two folders, and fails unless both are
/// equal to the last byte.
fn twice(
    kind: Kind,
    release: &Release,
    made: &layout::Made,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let one = write(kind, release, made, folder, "one")?;
    let other = write(kind, release, made, folder, "another")?;
    let bytes = |file: &Path| fs::read(file).with_context(|| format!("read {}", file.display()));
    if bytes(&one)? != bytes(&other)? {
        bail!(
            "{} and {} differ although they were made from the same: compare them with diffoscope",
            one.display(),
            other.display()
        );
    }
    let name = one.file_name().context("a package is a file")?;
    let file = folder.join(name);
    fs::rename(&one, &file).with_context(|| format!("write {}", file.display()))?;
    let sum = run::answer(Command::new("sha256sum").arg(&file)).context("run sha256sum")?;
    println!("package, built twice alike: {sum}");
    Ok(file)
}

fn write(
    kind: Kind,
    release: &Release,
    made: &layout::Made,
    folder: &Path,
    round: &str,
) -> anyhow::Result<PathBuf> {
    let folder = folder.join(round);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    let stage = folder.join("root");
    let entries = layout::entries(kind, made)?;
    layout::stage(&entries, &stage, release.epoch_s)?;
    match kind {
        Kind::Deb => deb::write(release, &entries, &stage, &folder),
        Kind::Rpm => rpm::write(release, &entries, &stage, &folder),
    }
}

fn judge(kind: Kind, file: &Path) -> anyhow::Result<()> {
    match kind {
        Kind::Deb => {
            let mut lintian = Command::new("lintian");
            lintian.args(["--fail-on", "error,warning"]).arg(file);
            // As root it asks whether that is meant; it reads one file of ours.
            run::shown(lintian.arg("--allow-root"))
        }
        Kind::Rpm => {
            let settings = run::root().join("packaging/rpm/rpmlint.toml");
            run::shown(
                Command::new("rpmlint").arg("--strict").arg("--config").arg(settings).arg(file),
            )
        }
    }
}

/// `SOURCE_DATE_EPOCH`, or the moment of the commit.
pub(crate) fn epoch_s() -> anyhow::Result<u64> {
    let asked = std::env::var("SOURCE_DATE_EPOCH").ok();
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(run::root());
    let text = asked.or_else(|| run::answer(&mut git)).context(
        "the moment of the sources is not known: build from a git clone, \
         or set SOURCE_DATE_EPOCH to seconds since 1970",
    )?;
    text.parse().with_context(|| format!("`{text}` is no count of seconds"))
}

/// The moment of the sources, written as `date` does with this format.
pub(crate) fn moment(epoch_s: u64, format: &str) -> anyhow::Result<String> {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-d", &format!("@{epoch_s}"), format]);
    run::answer(&mut date).context("run date")
}

/// A template with its `@NAME@`s filled in.
fn filled(template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let path = run::root().join(template);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages of nothing: what is compared is how they are written.
    #[test]
    fn packages_of_the_same_are_the_same_to_the_last_byte() {
        let folder = std::env::temp_dir().join(format!("hostfw-package-{}", std::process::id()));
        let made = layout::Made {
            hostfwd: folder.join("hostfwd"),
            hostfw: folder.join("hostfw"),
            sbom: folder.join("hostfw.cdx.json"),
            notices: folder.join("notices.txt"),
            config: run::root().join("etc/hostfw.yaml"),
            manual: folder.join("manual"),
        };
        fs::create_dir_all(&made.manual).expect("a temporary folder");
        for file in ["hostfwd", "hostfw", "hostfw.cdx.json", "notices.txt"] {
            fs::write(folder.join(file), "#!/bin/sh\n").expect("a temporary file");
        }
        for file in ["hostfwd.8", "hostfw.1", "hostfw.bash", "_hostfw", "hostfw.fish"] {
            fs::write(made.manual.join(file), file).expect("a temporary file");
        }
        for (kind, machine) in [(Kind::Deb, Machine::Amd64), (Kind::Rpm, Machine::Arm64)] {
            let release =
                Release { version: "1.2.3".into(), revision: 4, machine, epoch_s: 1_700_000_000 };
            let file = twice(kind, &release, &made, &folder).expect("both are equal");
            assert!(file.is_file());
        }
        fs::remove_dir_all(&folder).expect("the folder is ours");
    }
}
