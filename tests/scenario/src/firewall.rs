//! A real `hostfwd` on a host of the lab: its files, its life, its answers.
//!
//! Talks to it as an operator does: files, signals, the local API and the
//! `hostfw` command. What it should answer is known to the tests.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hostfw_api::{AuditReport, LinkReport, LinksReport, RulesReport, StatusReport};
use serde::de::DeserializeOwned;

use crate::{Host, Process, wait::eventually};

/// The daemon has this long to put a generation into force.
const START: Duration = Duration::from_secs(20);

/// The daemon has this long to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// The folders of one daemon.
pub struct FirewallFiles {
    /// `hostfw.yaml`.
    pub config: PathBuf,
    /// Policy files.
    pub policies: PathBuf,
    /// Objects of the world.
    pub cluster: PathBuf,
    /// What survives a restart.
    pub state: PathBuf,
    /// Where the socket is.
    pub run: PathBuf,
    /// Where BPF objects are pinned.
    pub bpf: PathBuf,
}

/// A daemon, running or not.
pub struct Firewall<'host> {
    host: &'host Host,
    /// Its folders.
    pub files: FirewallFiles,
    process: Option<Process>,
}

/// What the `hostfw` command said.
#[derive(Debug)]
pub struct Answer {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub errors: String,
}

impl<'host> Firewall<'host> {
    /// Prepares folders and a configuration that names the node like the host.
    ///
    /// # Panics
    /// When the folders cannot be made.
    pub fn new(host: &'host Host) -> Self {
        let at = |name: &str| host.folder().join(name);
        let files = FirewallFiles {
            config: at("hostfw.yaml"),
            policies: at("policies.d"),
            cluster: at("cluster.d"),
            state: at("state"),
            run: at("run"),
            bpf: at("bpf").join("hostfw"),
        };
        for folder in [&files.policies, &files.cluster, &files.state, &files.run] {
            fs::create_dir_all(folder).expect("a folder of the lab");
        }
        let firewall = Self { host, files, process: None };
        firewall.configure("");
        firewall
    }

    /// Writes the configuration: node name and paths, and these lines.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, lines: &str) {
        let node = format!("node: {{name: {}}}\n", self.host.name());
        self.configure_node(&node, lines);
    }

    /// As [`Self::configure`], with the `node` lines given.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure_node(&self, node: &str, lines: &str) {
        let paths = &self.files;
        let text = format!(
            "{node}paths:\n  policies: {}\n  cluster: {}\n  state: {}\n  run: {}\n  bpf: {}\n{lines}",
            paths.policies.display(),
            paths.cluster.display(),
            paths.state.display(),
            paths.run.display(),
            paths.bpf.display()
        );
        replace(&paths.config, text.as_bytes());
    }

    /// Writes a policy file as careful tools do: beside it, then renamed.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn policy(&self, file: &str, text: &str) {
        replace(&self.files.policies.join(file), text.as_bytes());
    }

    /// Writes a file with objects of the world.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn world(&self, file: &str, text: &str) {
        replace(&self.files.cluster.join(file), text.as_bytes());
    }

    /// Starts the daemon and waits until a generation is in force and every
    /// device that is to be filtered is.
    ///
    /// # Panics
    /// When that does not happen in time.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        self.await_status("a generation in force", |status| {
            status.generation.is_some() && all_attached(status)
        });
    }

    /// Starts the daemon and waits for nothing.
    ///
    /// # Panics
    /// When it is running already or cannot be started.
    #[track_caller]
    pub fn spawn(&mut self) {
        self.spawn_through(&[]);
    }

    /// As [`Self::spawn`], by way of a program that changes what it may do.
    ///
    /// # Panics
    /// When it is running already or cannot be started.
    #[track_caller]
    pub fn spawn_through(&mut self, wrapper: &[&str]) {
        assert!(self.process.is_none(), "one daemon per host");
        let mut words: Vec<OsString> = wrapper.iter().map(OsString::from).collect();
        words.extend([
            binary("hostfwd").into(),
            "--config".into(),
            self.files.config.clone().into(),
        ]);
        let mut command = self.host.command(&words[0]);
        command.args(&words[1..]);
        self.process = Some(Process::start("hostfwd", self.host.folder(), &mut command));
    }

    /// Runs the verb that opens the host, while no daemon runs.
    ///
    /// # Panics
    /// When the daemon is running, or the verb fails.
    #[track_caller]
    pub fn cleanup(&self) {
        assert!(self.process.is_none(), "no daemon holds the programs");
        let mut command = self.host.command(binary("hostfwd"));
        command.arg("--config").arg(&self.files.config).arg("--cleanup");
        let output = command.output().expect("hostfwd runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "cleaning up ended with {}\n{said}", output.status);
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process.take().expect("a running daemon").kill();
    }

    /// Stops the daemon as a service manager does.
    ///
    /// # Panics
    /// When it is not running, does not stop, or does not end cleanly.
    #[track_caller]
    pub fn stop(&mut self) {
        let status = self.running().stop();
        let log = self.log();
        self.process = None;
        assert!(status.success(), "hostfwd ended with {status}\n{log}");
    }

    /// Asks the daemon to read everything again.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub fn reload(&self) {
        self.process.as_ref().expect("a running daemon").signal(libc::SIGHUP);
    }

    /// The running daemon.
    ///
    /// # Panics
    /// When it is not running.
    #[track_caller]
    pub fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running daemon")
    }

    /// Everything that the daemons of this host wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.host.folder().join("hostfwd.log")).unwrap_or_default()
    }

    /// Makes a change of files and waits for the generation that it causes.
    ///
    /// # Panics
    /// When no new generation comes into force in time.
    #[track_caller]
    pub fn apply(&self, change: impl FnOnce(&Self)) {
        let before = self.generation();
        change(self);
        self.await_status("a new generation", |status| {
            status.generation.as_ref().is_some_and(|generation| Some(generation.number) != before)
        });
    }

    /// The number of the generation in force.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn generation(&self) -> Option<u32> {
        self.status().generation.map(|generation| generation.number)
    }

    /// Waits for a state of the node and returns it.
    ///
    /// # Panics
    /// When it does not come; the last state is shown.
    #[track_caller]
    pub fn await_status(
        &self,
        what: &str,
        mut wanted: impl FnMut(&StatusReport) -> bool,
    ) -> StatusReport {
        let mut last = None;
        let found = eventually(START, || {
            let mut status = self.ask::<StatusReport>("GET", hostfw_api::STATUS_PATH, "");
            if let Ok(status) = &mut status {
                leave_out_spare(&mut status.devices);
            }
            let fits = status.as_ref().is_ok_and(&mut wanted);
            last = Some(status);
            fits.then_some(())
        });
        match (found, last) {
            (Some(()), Some(Ok(status))) => status,
            (_, last) => panic!("not in time: {what}; last: {last:#?}\n{}", self.log()),
        }
    }

    /// The state of the node, without the spare devices of tunnel drivers.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn status(&self) -> StatusReport {
        let mut status: StatusReport = self.answer(hostfw_api::STATUS_PATH);
        leave_out_spare(&mut status.devices);
        status
    }

    /// The rules and their counters.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn rules(&self) -> RulesReport {
        self.answer(hostfw_api::RULES_PATH)
    }

    /// The devices, without the spare ones of tunnel drivers.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn links(&self) -> LinksReport {
        let mut report: LinksReport = self.answer(hostfw_api::LINKS_PATH);
        leave_out_spare(&mut report.links);
        report
    }

    /// Denied flows.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn audit(&self) -> AuditReport {
        self.answer(hostfw_api::AUDIT_PATH)
    }

    /// Packets counted for a reason on ingress.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn ingress_packets(&self, reason: &str) -> u64 {
        let reasons = self.rules().ingress.reasons;
        reasons
            .iter()
            .filter(|counter| counter.reason == reason)
            .map(|counter| counter.packets)
            .sum()
    }

    /// Packets counted for a reason on egress.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    pub fn egress_packets(&self, reason: &str) -> u64 {
        let reasons = self.rules().egress.reasons;
        let packets = reasons.iter().filter(|one| one.reason == reason).map(|one| one.packets);
        packets.sum()
    }

    /// Has the configuration read and judged, without starting anything.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn check(&self) -> Answer {
        let mut command = self.host.command(binary("hostfwd"));
        said(command.arg("--config").arg(&self.files.config).arg("--check"))
    }

    /// Runs the `hostfw` command against this daemon.
    ///
    /// # Panics
    /// When the command cannot be started.
    #[track_caller]
    pub fn hostfw(&self, arguments: &[&str]) -> Answer {
        let mut command = self.host.command(binary("hostfw"));
        said(command.arg("--socket").arg(self.socket()).args(arguments))
    }

    /// As [`Self::hostfw`], as a user with these groups, the first one its own.
    ///
    /// # Panics
    /// When the command cannot be started.
    #[track_caller]
    pub fn hostfw_as(&self, uid: u32, gids: &[u32], arguments: &[&str]) -> Answer {
        // Where it was built may be a folder that others cannot enter. A process
        // of its own copies it: a file that is open for writing cannot be run.
        let copy = self.host.folder().join("hostfw");
        let copied = Command::new("cp").arg(binary("hostfw")).arg(&copy).status();
        assert!(copied.expect("cp runs").success(), "copy hostfw");
        let all: Vec<String> = gids.iter().map(u32::to_string).collect();
        let mut command = self.host.command("setpriv");
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={}", gids[0]));
        command.arg(format!("--groups={}", all.join(","))).arg(&copy);
        said(command.arg("--socket").arg(self.socket()).args(arguments))
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.files.run.join("api.sock")
    }

    #[track_caller]
    fn answer<T: DeserializeOwned>(&self, path: &str) -> T {
        match self.ask("GET", path, "") {
            Ok(answer) => answer,
            Err(error) => {
                panic!("hostfwd on {}: {path}: {error}\n{}", self.host.name(), self.log())
            }
        }
    }

    /// Asks the local API.
    ///
    /// # Errors
    /// When the daemon cannot be reached or does not answer with the report.
    pub fn ask<T: DeserializeOwned>(&self, verb: &str, path: &str, body: &str) -> io::Result<T> {
        let mut socket = UnixStream::connect(self.socket())?;
        socket.set_read_timeout(Some(ANSWER))?;
        write!(
            socket,
            "{verb} {path} HTTP/1.1\r\nHost: hostfw\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!("{head}: {body}")));
        }
        serde_json::from_str(body).map_err(io::Error::other)
    }
}

#[track_caller]
fn said(hostfw: &mut Command) -> Answer {
    let output = hostfw.output().expect("hostfw was built");
    Answer {
        code: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Devices that the kernel puts into every new namespace once a tunnel driver
/// is loaded. They are down and cannot be deleted; no test is about them.
const SPARE: [&str; 9] =
    ["tunl0", "gre0", "gretap0", "erspan0", "sit0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"];

fn leave_out_spare(links: &mut Vec<LinkReport>) {
    links.retain(|link| !SPARE.contains(&link.device.as_str()));
}

/// True when no device that is to be filtered lacks a hook, and there is one.
fn all_attached(status: &StatusReport) -> bool {
    !status.devices.is_empty()
        && status.devices.iter().all(|link| link.ingress.is_some() && link.egress.is_some())
}

/// Writes a file beside its place and renames it there.
fn replace(path: &Path, bytes: &[u8]) {
    let mut beside = OsString::from(".");
    beside.push(path.file_name().expect("a file has a name"));
    beside.push(".new");
    let beside = path.with_file_name(beside);
    fs::write(&beside, bytes).expect("a file of the lab");
    fs::rename(&beside, path).expect("a file of the lab");
}

/// A program: one of the folder that `HOSTFW_PROGRAMS` names, one that this
/// workspace built, which stands beside or above the running test, or one of the
/// system.
pub fn binary(name: &str) -> PathBuf {
    let named = std::env::var_os("HOSTFW_PROGRAMS").map(PathBuf::from);
    let here = std::env::current_exe().unwrap_or_default();
    let built = here.ancestors().skip(1).take(2).map(Path::to_owned);
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let mut places = named.into_iter().chain(built).chain(system).map(|folder| folder.join(name));
    places.find(|file| file.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
