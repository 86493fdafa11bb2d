//! Leases: the real dnsmasq as server, and two real clients. What they write is
//! all that is known of them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::Command,
};

use crate::{Host, Process, binary, syscall};

/// A server for both families on one device.
pub struct DhcpServer {
    /// The running server; its log has a line for every message.
    pub process: Process,
}

impl DhcpServer {
    /// Starts it on a device that has addresses of both families, with ranges
    /// given as dnsmasq writes them.
    ///
    /// # Panics
    /// When dnsmasq is not installed.
    #[track_caller]
    pub fn start(host: &Host, device: &str, ranges: &[&str]) -> Self {
        let folder = host.folder().join("dnsmasq");
        fs::create_dir_all(&folder).expect("a folder for dnsmasq");
        let mut command = host.command(binary("dnsmasq"));
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-"])
            .args(["--port=0", "--bind-interfaces", "--no-ping", "--dhcp-authoritative"])
            .args(["--user=root", "--log-dhcp", &format!("--interface={device}")])
            .arg(format!("--dhcp-leasefile={}", folder.join("leases").display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .args(ranges.iter().map(|range| format!("--dhcp-range={range}")));
        Self { process: Process::start("dnsmasq", &folder, &mut command) }
    }

    /// How many messages of a kind it has sent or received.
    pub fn n_messages(&self, kind: &str) -> usize {
        let kind = format!("{kind}(");
        self.process.log().lines().filter(|line| line.contains(&kind)).count()
    }
}

/// busybox's client for IPv4. It asks with raw packets first, and through an
/// ordinary socket once it has an address.
pub struct Udhcpc {
    /// The running client.
    pub process: Process,
}

impl Udhcpc {
    /// Starts it on a device.
    ///
    /// # Panics
    /// When it is not installed.
    #[track_caller]
    pub fn start(host: &Host, device: &str) -> Self {
        let folder = host.folder().join("udhcpc");
        fs::create_dir_all(&folder).expect("a folder for udhcpc");
        let script = folder.join("script");
        let text = "#!/bin/sh\n[ -z \"$ip\" ] || ip addr replace \"$ip/24\" dev \"$interface\"\n";
        fs::write(&script, text).expect("a file of the lab");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our own file");
        let mut command = host.command(binary("udhcpc"));
        command.args(["-f", "-T", "1", "-i", device, "-s"]).arg(script);
        Self { process: Process::start("udhcpc", &folder, &mut command) }
    }

    /// Asks it to renew its lease at once.
    pub fn renew(&self) {
        self.process.signal(libc::SIGUSR1);
    }
}

/// dhcpcd as a client for IPv6, which does not wait for a router.
pub struct Dhcpcd {
    /// The running client.
    pub process: Process,
    config: PathBuf,
    device: String,
}

impl Dhcpcd {
    /// Starts it on a device.
    ///
    /// # Panics
    /// When it is not installed.
    #[track_caller]
    pub fn start(host: &Host, device: &str) -> Self {
        let folder = host.folder().join("dhcpcd");
        fs::create_dir_all(&folder).expect("a folder for dhcpcd");
        let config = folder.join("dhcpcd.conf");
        let text = "ipv6only\nnoipv6rs\nia_na 1\nscript /bin/true\nduid\n";
        fs::write(&config, text).expect("a file of the lab");
        let mut command = host.command(binary("dhcpcd"));
        command.args(["-B", "-d", "-6", "-f"]).arg(&config).arg(device);
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(|| {
                // Its files have fixed places; these are seen by nobody else.
                syscall::own_mounts()?;
                syscall::mount(c"tmpfs", c"/run")?;
                syscall::mount(c"tmpfs", c"/var/lib/dhcpcd")
            });
        }
        let process = Process::start("dhcpcd", &folder, &mut command);
        Self { process, config, device: device.into() }
    }

    /// Asks it to renew its lease at once.
    ///
    /// # Panics
    /// When it does not take the question.
    #[track_caller]
    pub fn renew(&self) {
        let mut command = Command::new(binary("nsenter"));
        command
            .args(["--target", &self.process.id().to_string(), "--mount", "--net"])
            .arg(binary("dhcpcd"))
            .args(["-6", "-N", "-f"])
            .arg(&self.config)
            .arg(&self.device);
        let output = command.output().expect("util-linux is installed");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "dhcpcd does not renew: {said}");
    }
}
