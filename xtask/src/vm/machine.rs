//! An emulated machine with one processor and a serial console: started, read,
//! and ended in time. Ends nothing that it has not started.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::console;
use crate::run;

/// A machine that is not done by then is ended; the slowest takes a fifth of it
/// on an idle host.
const LIMIT: Duration = Duration::from_secs(300);

/// What a machine has said, from the first line to the last.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) lines: Vec<String>,
    pub(crate) took: Duration,
}

/// Boots a kernel with an archive, until it turns itself off.
pub(crate) fn boot(name: &str, kernel: &Path, archive: &Path) -> anyhow::Result<Said> {
    let said = once(name, kernel, archive)?;
    if said.lines.iter().any(|line| console::is_ours(line)) {
        return Ok(said);
    }
    // Emulation loses a boot once in some hundred; a test program that was
    // never reached says nothing about the kernel.
    println!("{name}: the kernel did not reach the test program; once more");
    once(name, kernel, archive)
}

fn once(name: &str, kernel: &Path, archive: &Path) -> anyhow::Result<Said> {
    let began = Instant::now();
    let mut child = run::tied(&command(kernel, archive))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start qemu-system-x86_64")?;
    let (sender, lines) = channel();
    let console = child.stdout.take().context("the console was asked for")?;
    let complaints = child.stderr.take().context("its complaints were asked for")?;
    let mut said = Said::default();
    std::thread::scope(|scope| {
        let other = sender.clone();
        scope.spawn(move || pass_on(console, &sender));
        scope.spawn(move || pass_on(complaints, &other));
        let in_time = collect(name, &lines, began + LIMIT, &mut said.lines);
        // Also when it has ended by itself: the readers end with it.
        end(&mut child)?;
        if !in_time {
            let last = said.lines.iter().rev().take(5).rev().cloned().collect::<Vec<_>>();
            bail!("not done after {} s; it said last:\n{}", LIMIT.as_secs(), last.join("\n"));
        }
        Ok(())
    })?;
    said.took = began.elapsed();
    Ok(said)
}

fn command(kernel: &Path, archive: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    // Emulated even where the processor could do it: the same everywhere. The
    // cache of translated code would grow to a gigabyte without a limit.
    command.args(["-accel", "tcg,tb-size=128", "-cpu", "max", "-smp", "1", "-m", "640"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
    command.args(["-no-reboot", "-kernel"]).arg(kernel).arg("-initrd").arg(archive);
    // The time stamp counter of a busy emulator runs at any speed. Mitigations
    // stay on: without them some verifiers accept more.
    command.args([
        "-append",
        "console=ttyS0 quiet panic=-1 random.trust_cpu=on clocksource=hpet no_timer_check",
    ]);
    command
}

/// Sends on every line, whatever bytes are in it.
fn pass_on(source: impl Read, lines: &Sender<String>) {
    let mut source = BufReader::new(source);
    let mut bytes = Vec::new();
    while source.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if lines.send(line).is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Collects lines until there are no more; false when the time was up before.
fn collect(name: &str, lines: &Receiver<String>, until: Instant, into: &mut Vec<String>) -> bool {
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if line.starts_with("test ") && !line.starts_with("test result") {
                    println!("{name}: {line}");
                }
                into.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

fn end(child: &mut Child) -> anyhow::Result<()> {
    child.kill().context("end the machine")?;
    child.wait().context("wait for the machine")?;
    Ok(())
}
