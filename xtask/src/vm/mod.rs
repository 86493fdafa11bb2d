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
    process::{Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, bail, ensure};

pub(crate) use self::debian::KEYRING;
use self::{console::Verdict, debian::Debian, kernel::Kernel};
use crate::{bpf, run, setup};

/// The kernels that every change must pass: the oldest that is supported, and
/// those of the two last Debian releases.
pub(crate) const ALWAYS: [&str; 3] = ["5.10", "6.1", "6.12"];

/// How many machines run at a time. Each keeps one processor busy.
const AT_A_TIME: usize = 2;

/// What one kernel came to: its name as it was asked for, and the verdict, or
/// why there is none.
pub(crate) struct Outcome {
    pub(crate) asked: String,
    pub(crate) verdict: anyhow::Result<Verdict>,
}

impl Outcome {
    pub(crate) fn passed(&self) -> bool {
        self.verdict.as_ref().is_ok_and(|verdict| verdict.failed == 0)
    }
}

/// Installs and builds what is missing, runs the kernels, and prints a table.
pub(crate) fn run(asked: &[String]) -> anyhow::Result<()> {
    setup::run(false)?;
    bpf::build()?;
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let outcomes = outcomes(if asked.is_empty() { &ALWAYS } else { &asked })?;
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    ensure!(failed == 0, "{failed} of {} kernels failed", outcomes.len());
    Ok(())
}

/// Runs every kernel that was asked for, and prints what they say.
pub(crate) fn outcomes(asked: &[&str]) -> anyhow::Result<Vec<Outcome>> {
    let (folder, debian) = archives()?;
    let program = build(&folder)?;
    // Fetched one after the other: the package lists are not to be shared.
    let fetched: Vec<(&str, anyhow::Result<Kernel>)> =
        asked.iter().map(|asked| (*asked, Kernel::fetch(&debian, asked, &folder))).collect();
    let outcomes = boot_all(fetched, &program, &folder);
    println!("{}", console::table(&outcomes));
    for outcome in &outcomes {
        if let Err(error) = &outcome.verdict {
            println!("{}: {error:#}", outcome.asked);
        }
    }
    Ok(outcomes)
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

/// Builds the test program. Only the last step, linking, differs from a usual
/// build, so that everything before it is shared with the other tests.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = run::cargo(&["rustc", "--quiet", "--package", "hostfw-vm"]);
    cargo.args(["--bin", "hostfw-vm", "--message-format", "json-render-diagnostics"]);
    cargo.args(["--", "-Ctarget-feature=+crt-static", "-Cstrip=symbols"]);
    let line = run::line(&cargo);
    println!("$ {line}");
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "`{line}` ended with {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let built = executable(&messages).context("cargo names no program")?;
    // A copy, because a usual build writes to the same place.
    let program = folder.join("init");
    fs::copy(&built, &program).with_context(|| format!("copy {}", built.display()))?;
    let linked = run::answer(Command::new("ldd").arg(&program)).unwrap_or_default();
    ensure!(!linked.contains("=>"), "the test program is not static:\n{linked}");
    Ok(program)
}

/// The path in `"executable":"/a/b"` of cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let (_, rest) = messages.rsplit_once("\"executable\":\"")?;
    let (path, _) = rest.split_once('"')?;
    Some(PathBuf::from(path))
}

fn boot_all(
    fetched: Vec<(&str, anyhow::Result<Kernel>)>,
    program: &Path,
    folder: &Path,
) -> Vec<Outcome> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let n_fetched = fetched.len();
    let waiting = Mutex::new(fetched.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(n_fetched));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(processors) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_in_cargos_messages() {
        let messages = "{\"executable\":null}\n{\"a\":1,\"executable\":\"/t/debug/x\",\"b\":2}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/debug/x")));
        assert_eq!(executable("{\"executable\":null}\n"), None);
    }
}
