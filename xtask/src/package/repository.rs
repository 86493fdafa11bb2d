//! What hosts of the lab install from: a folder with two revisions of each
//! package, an index for apt and one for dnf.
//!
//! What is done with them is known to the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use clap::ValueEnum;

use super::{
    Kind, Machine,
    binaries::{self, Profile},
    release, rpm,
};
use crate::run;

/// Fills the folder for hosts of this machine's kind.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    let here = here()?;
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;

    let place = super::folder();
    let mut made = binaries::build(here, Profile::Dev)?;
    for revision in [1, 2] {
        made.config = configuration(revision)?;
        for kind in Kind::value_variants() {
            let file = super::write(*kind, &release(here, revision)?, &made, &place, "lab")?;
            bring(&file, folder)?;
        }
    }
    bring(&rpm::base(&place)?, folder)?;

    let mut index = Command::new("dpkg-scanpackages");
    let index = run::answer(index.args(["--multiversion", "."]).current_dir(folder));
    let index = index.context("run dpkg-scanpackages")? + "\n";
    fs::write(folder.join("Packages"), index).context("write the index for apt")?;
    run::shown(Command::new("createrepo_c").arg("--quiet").arg(folder))
}

/// Builds the programs that these packages hold, and gives their folder.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    binaries::compile(here()?, Profile::Dev)
}

fn here() -> anyhow::Result<Machine> {
    let here = Machine::value_variants().iter().find(|one| one.cpu() == std::env::consts::ARCH);
    here.copied().context("packages are built for amd64 and arm64, and this is neither")
}

/// The configuration of a revision. They differ, so that a package manager has
/// to decide between its file and an edited one.
fn configuration(revision: u32) -> anyhow::Result<PathBuf> {
    let original = run::root().join("etc/hostfw.yaml");
    let text =
        fs::read_to_string(&original).with_context(|| format!("read {}", original.display()))?;
    let file = super::folder().join(format!("hostfw-{revision}.yaml"));
    fs::write(&file, format!("{text}# Revision {revision}.\n"))
        .with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

fn bring(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let to = folder.join(file.file_name().context("a package is a file")?);
    fs::rename(file, &to).with_context(|| format!("write {}", to.display()))
}
