//! A program that a test started: its log, its end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{syscall, wait::eventually};

/// A running program whose output goes to a file.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; its log is `<folder>/<name>.log`, appended to.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).expect("a log file");
        let errors = output.try_clone().expect("a descriptor can be duplicated");
        let child = command.stdout(Stdio::from(output)).stderr(Stdio::from(errors)).spawn();
        let child = child.unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name: name.into(), child, log }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        syscall::signal(self.child.id(), signal).expect("our own child can be signalled");
    }

    /// Ends it at once, without a chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end within ten seconds.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        let status = self.ended_within(Duration::from_secs(10));
        status.unwrap_or_else(|| panic!("{} does not stop\n{}", self.name, self.log()))
    }

    /// Its status, if it ends within the time.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        eventually(limit, || self.child.try_wait().expect("our own child can be asked"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} wrote:\n{}---", self.name, self.log());
        }
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("end {}: {error}", self.name);
        }
    }
}
