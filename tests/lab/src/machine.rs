//! A host with an operating system and a kernel of its own: an emulated machine
//! with a disk and a network card, whose cable ends in a host of the lab.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use hostfw_scenario::{Host, Process, eventually};

use crate::{JOURNAL, Said, given};

/// What a boot takes at most, or an answer. An emulated machine on a busy host
/// needs a tenth of it, one without a processor to itself several times more.
const LIMIT: Duration = Duration::from_secs(240);

/// A host with an operating system and a kernel.
pub struct Machine<'host> {
    peer: &'host Host,
    kernel: PathBuf,
    folder: PathBuf,
    units: Vec<String>,
    process: Option<Process>,
    shell: Option<UnixStream>,
}

impl<'host> Machine<'host> {
    /// A machine that is switched off, with its cable in the device `eth0` of
    /// the peer, which is made.
    pub fn new(peer: &'host Host, kernel: &str) -> Self {
        let kernel = given("HOSTFW_LAB_KERNELS").join(kernel);
        let folder = peer.folder().join("machine");
        peer.ip("tuntap add dev eth0 mode tap\nlink set eth0 up");
        let mut machine =
            Self { peer, kernel, folder, units: Vec::new(), process: None, shell: None };
        machine.put("/usr/local/sbin/lab-shell", include_str!("shell.sh"));
        machine.put(
            "/etc/systemd/system/lab-shell.service",
            "[Service]\nExecStart=sh /usr/local/sbin/lab-shell\n\
             [Install]\nWantedBy=multi-user.target\n",
        );
        machine.enable("lab-shell.service");
        machine
    }

    /// Puts a file on the disk, before the first boot.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn put(&self, path: &str, text: &str) {
        let file = self.folder.join("upper").join(path.trim_start_matches('/'));
        let written = fs::create_dir_all(file.parent().expect("a path with a folder"))
            .and_then(|()| fs::write(&file, text));
        written.unwrap_or_else(|error| panic!("put {path}: {error}"));
    }

    /// Has a unit started by every boot; before the first one.
    pub fn enable(&mut self, unit: &str) {
        self.units.push(unit.into());
    }

    /// Makes the disk, switches the machine on and waits until everything is
    /// started.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn boot(&mut self) {
        self.make_disk();
        let socket = self.folder.join("shell");
        let process = Process::start("machine", &self.folder, &mut self.emulator(&socket));
        self.process = Some(process);
        let shell = eventually(LIMIT, || UnixStream::connect(&socket).ok());
        let shell = shell.expect("the emulator opens the serial port");
        shell.set_read_timeout(Some(LIMIT)).expect("a limit above zero");
        shell.set_write_timeout(Some(LIMIT)).expect("a limit above zero");
        self.shell = Some(shell);
        self.wait_until_up();
    }

    /// Has the machine boot again, and waits until everything is started.
    ///
    /// # Panics
    /// When it does not come up again.
    #[track_caller]
    pub fn reboot(&self) {
        self.ask("systemctl reboot").expect("the machine listens");
        self.wait_until_up();
    }

    /// Runs a line of shell on the machine.
    ///
    /// # Panics
    /// When the machine does not answer.
    #[track_caller]
    pub fn run(&self, line: &str) -> Said {
        let said = self.ask(line).and_then(|()| self.answer());
        said.unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Runs a line of shell that must end well, and gives what it wrote.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn does(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.ok, "{line}\n{}\n{}", said.text, self.run(JOURNAL).text);
        said.text
    }

    /// Writes a file on the running machine.
    ///
    /// # Panics
    /// When it cannot be written.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        self.does(&format!("cat >{path} <<'END'\n{}\nEND", text.trim_end()));
    }

    #[track_caller]
    fn make_disk(&self) {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", include_str!("disk.sh")]);
        command.env("BASE", given("HOSTFW_LAB_ROOT")).env("KERNEL", &self.kernel);
        command.env("FOLDER", &self.folder).env("PACKAGES", given("HOSTFW_LAB_PACKAGES"));
        let output = command.env("UNITS", self.units.join(" ")).output().expect("unshare runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "make a disk with {}: {text}", self.kernel.display());
    }

    /// As xtask/src/vm/machine.rs, with a disk, a cable and a second serial port.
    fn emulator(&self, socket: &Path) -> Command {
        let mut command = self.peer.command("qemu-system-x86_64");
        command.args(["-accel", "tcg,tb-size=128", "-cpu", "max", "-smp", "1", "-m", "512"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
        command.arg("-serial").arg(format!("unix:{},server=on,wait=off", socket.display()));
        let disk = self.folder.join("disk");
        let disk = format!("file={},if=virtio,format=raw,cache=unsafe", disk.display());
        command.args(["-drive", &disk, "-device", "virtio-rng-pci"]);
        command.args(["-netdev", "tap,id=cable,ifname=eth0,script=no,downscript=no", "-device"]);
        command.arg("virtio-net-pci,netdev=cable,mac=02:00:00:00:00:01,romfile=");
        command.arg("-kernel").arg(self.kernel.join("vmlinuz"));
        command.arg("-initrd").arg(self.kernel.join("initrd"));
        command.args([
            "-append",
            "console=ttyS0 quiet panic=-1 random.trust_cpu=on clocksource=hpet no_timer_check \
             systemd.getty_auto=no",
        ]);
        command
    }

    #[track_caller]
    fn wait_until_up(&self) {
        let began = Instant::now();
        // Of an earlier boot there may be the end of an answer.
        while began.elapsed() < LIMIT {
            let line = self.line().unwrap_or_else(|error| panic!("it does not boot: {error}"));
            if line == "ready" {
                let state = self.run("systemctl is-system-running --wait").text;
                assert!(["running", "degraded"].contains(&state.trim()), "{state}");
                return;
            }
        }
        panic!("it does not boot");
    }

    fn ask(&self, line: &str) -> io::Result<()> {
        self.shell().write_all(format!("{}\n{line}", line.len()).as_bytes())
    }

    fn answer(&self) -> io::Result<Said> {
        let line = self.line()?;
        let words = line.split_once(' ').and_then(|(status, length)| {
            Some((status.parse::<u8>().ok()?, length.parse::<usize>().ok()?))
        });
        let (status, length) =
            words.ok_or_else(|| io::Error::other(format!("no answer: {line}")))?;
        let mut text = vec![0; length];
        self.shell().read_exact(&mut text)?;
        Ok(Said { ok: status == 0, text: String::from_utf8_lossy(&text).into_owned() })
    }

    fn line(&self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            self.shell().read_exact(&mut byte)?;
            if byte == *b"\n" {
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            line.extend(byte);
        }
    }

    fn shell(&self) -> &UnixStream {
        self.shell.as_ref().expect("it is on")
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.shell.is_none() {
            return;
        }
        // It may be what does not answer.
        let said = self.shell().set_read_timeout(Some(Duration::from_secs(10)));
        let said = said.and_then(|()| self.ask(JOURNAL)).and_then(|()| self.answer());
        if let Ok(Said { text, .. }) = said {
            eprintln!("--- the journal:\n{text}---");
        }
    }
}
