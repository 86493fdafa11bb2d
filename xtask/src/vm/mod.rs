//! Runs the tests of the kernel programs on other kernels: Debian's, emulated,
//! each with one static program as its only process.
//!
//! Fetches what it needs, and never skips: a kernel that cannot be had, a
//! machine that does not end and a test that fails all end in an error. What is
//! tested is not known here; it is a program of the tests, and this reads its
//! console.
//!
//! The same kernels, prepared to start a disk, are what whole machines of the
//! lab run.

mod archive;
mod console;
mod debian;
mod kernel;
mod machine;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use anyhow::{Context, bail, ensure};

pub(crate) use self::debian::KEYRING;
use self::{console::Verdict, debian::Debian, kernel::Kernel};
use crate::{bpf, package, run, setup};

/// The kernels that every change must pass: the oldest that is supported, and
/// those of the two last Debian releases.
const ALWAYS: [&str; 3] = ["5.10", "6.1", "6.12"];

/// What one kernel came to: its name as it was asked for, and the verdict, or
/// why there is none.
struct Outcome {
    asked: String,
    verdict: anyhow::Result<Verdict>,
}

/// Installs and builds what is missing, runs the kernels, some at a time, and
/// prints a table and what did not pass.
pub(crate) fn run(asked: &[String], at_a_time: usize) -> anyhow::Result<()> {
    setup::run(false)?;
    bpf::build()?;
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let asked = if asked.is_empty() { &ALWAYS[..] } else { &asked };
    let (folder, debian) = archives()?;
    let program = program(&folder)?;
    // Fetched one after the other: the package lists are not to be shared.
    let fetched: Vec<(&str, anyhow::Result<Kernel>)> =
        asked.iter().map(|asked| (*asked, Kernel::fetch(&debian, asked, &folder))).collect();
    let outcomes = boot_all(fetched, at_a_time, &program, &folder);
    println!("{}", console::table(&outcomes));
    let (lines, failed) = console::result(&outcomes);
    println!("{lines}");
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

/// Fetches the kernels that every change must pass.
pub(crate) fn fetch() -> anyhow::Result<()> {
    let (folder, debian) = archives()?;
    ALWAYS.iter().try_for_each(|asked| Kernel::fetch(&debian, asked, &folder).map(drop))
}

/// Prepares kernels to start a disk, each in a folder of its name.
pub(crate) fn for_disks(asked: &[&str], into: &Path) -> anyhow::Result<()> {
    let (folder, debian) = archives()?;
    let busybox = busybox(&debian, &folder)?;
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("empty {}", into.display()))?;
    }
    for asked in asked {
        let kernel = Kernel::fetch(&debian, asked, &folder)?;
        kernel.keep_for_a_disk(&busybox, &into.join(asked))?;
    }
    Ok(())
}

/// The folder for everything that is fetched, and the packages there are.
fn archives() -> anyhow::Result<(PathBuf, Debian)> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the emulated machines run programs of this one, which must be an x86-64");
    }
    setup::machines()?;
    let folder = run::root().join("target/vm");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let debian = Debian::open(&folder.join("debian"))?;
    Ok((folder, debian))
}

/// One static program with a shell and what it takes to find a disk.
fn busybox(debian: &Debian, folder: &Path) -> anyhow::Result<PathBuf> {
    let program = folder.join("busybox");
    if program.exists() {
        return Ok(program);
    }
    let package = debian.named("busybox-static", "")?.pop().context("Debian has no busybox")?;
    let beside = folder.join("unpacking-busybox");
    fs::create_dir_all(&beside).context("make a folder")?;
    let file = debian.download(&package, &beside)?;
    run::shown(Command::new("dpkg-deb").arg("-x").arg(file).arg(&beside))?;
    // Where it lies has changed from one Debian to the next.
    let places = ["usr/bin/busybox", "bin/busybox"].map(|place| beside.join(place));
    let unpacked = places.iter().find(|place| place.is_file());
    fs::copy(unpacked.context("the package holds no busybox")?, &program).context("keep it")?;
    fs::remove_dir_all(&beside).context("remove what is not needed of the package")?;
    Ok(program)
}

/// Builds the test program, static as those that are packaged, with them.
fn program(folder: &Path) -> anyhow::Result<PathBuf> {
    let built = package::development_programs()?.join("hostfw-vm");
    // A copy: another build must not change it between two machines.
    let program = folder.join("init");
    fs::copy(&built, &program).with_context(|| format!("copy {}", built.display()))?;
    let linked = run::answer(Command::new("ldd").arg(&program)).unwrap_or_default();
    ensure!(!linked.contains("=>"), "the test program is not static:\n{linked}");
    Ok(program)
}

fn boot_all(
    fetched: Vec<(&str, anyhow::Result<Kernel>)>,
    at_a_time: usize,
    program: &Path,
    folder: &Path,
) -> Vec<Outcome> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let n_fetched = fetched.len();
    let waiting = Mutex::new(fetched.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(n_fetched));
    std::thread::scope(|scope| {
        // Each keeps one processor busy.
        for _ in 0..at_a_time.min(processors) {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("nobody panics with it").next();
                    let Some((place, (asked, kernel))) = next else { break };
                    let verdict = kernel.and_then(|kernel| kernel.boot(asked, program, folder));
                    let outcome = Outcome { asked: asked.to_owned(), verdict };
                    done.lock().expect("nobody panics with it").push((place, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics with it");
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}
