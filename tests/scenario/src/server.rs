//! Servers to be reached or not: an echo of our own and the real sshd, etcd and
//! nginx, configured from nothing in a folder of the lab.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::{Host, Process, binary, syscall, wait::wait_until};

/// How often a thread looks whether it shall end.
const TICK: Duration = Duration::from_millis(5);

/// A server has this long to come up.
const START: Duration = Duration::from_secs(15);

/// Echoes TCP and UDP on one port until it is dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
}

impl Echo {
    /// Starts it on an address of the host.
    ///
    /// # Panics
    /// When the port is not free.
    #[track_caller]
    pub fn start(host: &Host, at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = host.inside(|| TcpListener::bind(at)).expect("a free TCP port");
        let socket = host.inside(|| UdpSocket::bind(at)).expect("a free UDP port");
        // A connection that is refused because too many wait is not the firewall's.
        syscall::enlarge_backlog(listener.as_fd()).expect("a listening socket");
        listener.set_nonblocking(true).expect("an open socket");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit above zero");
        let (stop_tcp, stop_udp) = (Arc::clone(&stop), Arc::clone(&stop));
        std::thread::spawn(move || accept(&listener, &stop_tcp));
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stop_udp.load(SeqCst) {
                if let Ok((n, peer)) = socket.recv_from(&mut buffer) {
                    // A peer that is gone does not concern the next one.
                    drop(socket.send_to(&buffer[..n], peer));
                }
            }
        });
        Self { stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>) {
    while !stop.load(SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = Arc::clone(stop);
                std::thread::spawn(move || echo(stream, &stop));
            }
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    if stream.set_read_timeout(Some(Duration::from_millis(100))).is_err() {
        return;
    }
    while !stop.load(SeqCst) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) if stream.write_all(&buffer[..n]).is_err() => return,
            Ok(_) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => return,
        }
    }
}

/// The real ssh server, with a key pair made for this lab.
pub struct Sshd {
    /// The running server.
    pub process: Process,
    key: PathBuf,
}

impl Sshd {
    /// Starts it on an address of the host.
    ///
    /// # Panics
    /// When openssh is not installed or does not come up.
    #[track_caller]
    pub fn start(host: &Host, at: SocketAddr) -> Self {
        let folder = host.folder().join("sshd");
        fs::create_dir_all(&folder).expect("a folder for sshd");
        let (key, host_key) = (folder.join("key"), folder.join("host_key"));
        for file in [&key, &host_key] {
            let mut keygen = Command::new(binary("ssh-keygen"));
            let keygen = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file);
            assert!(keygen.status().expect("ssh-keygen is installed").success());
        }
        let public = fs::read(key.with_extension("pub")).expect("the new key");
        let authorized = folder.join("authorized_keys");
        fs::write(&authorized, public).expect("a file of the lab");
        let config = folder.join("sshd_config");
        let text = format!(
            "ListenAddress {at}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nUseDNS no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nPrintMotd no\n",
            host_key.display(),
            authorized.display()
        );
        fs::write(&config, text).expect("a file of the lab");
        let mut command = host.command(binary("sshd"));
        command.args(["-D", "-e", "-f"]).arg(&config);
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(|| {
                // sshd insists on a folder that a service manager makes at boot.
                syscall::own_mounts()?;
                syscall::mount(c"tmpfs", c"/run")?;
                syscall::make_folder(c"/run/sshd")
            });
        }
        let process = Process::start("sshd", &folder, &mut command);
        await_tcp(host, at, &process);
        Self { process, key }
    }

    /// True when a login from another host succeeds.
    pub fn accepts_login(&self, from: &Host, at: SocketAddr, limit: Duration) -> bool {
        let output = self.client(from, at, limit).arg("true").output();
        output.expect("the ssh client is installed").status.success()
    }

    /// Logs in and stays: what is written comes back.
    ///
    /// # Panics
    /// When the client cannot be started.
    pub fn session(&self, from: &Host, at: SocketAddr, limit: Duration) -> Session {
        let mut ssh = self.client(from, at, limit);
        ssh.arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = ssh.spawn().expect("the ssh client is installed");
        let input = client.stdin.take().expect("a pipe was asked for");
        let output = client.stdout.take().expect("a pipe was asked for");
        Session { client, input, output }
    }

    fn client(&self, from: &Host, at: SocketAddr, limit: Duration) -> Command {
        let seconds = limit.as_secs().max(1);
        let mut ssh = from.command(binary("ssh"));
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"])
            .args(["-o", &format!("ConnectTimeout={seconds}"), "-p", &at.port().to_string()])
            .arg("-i")
            .arg(&self.key)
            .arg(format!("root@{}", at.ip()));
        ssh
    }
}

/// A login that lasts.
pub struct Session {
    client: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Session {
    /// True when the other end answers within the time.
    pub fn answers(&mut self, limit: Duration) -> bool {
        if self.input.write_all(b"still there?\n").and_then(|()| self.input.flush()).is_err() {
            return false;
        }
        let mut answer = [0; 13];
        let arrives = syscall::readable(self.output.as_fd(), limit).unwrap_or(false);
        arrives && self.output.read_exact(&mut answer).is_ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.client.kill());
        drop(self.client.wait());
    }
}

/// The real etcd, one member.
pub struct Etcd {
    /// The running server.
    pub process: Process,
}

impl Etcd {
    /// Starts it with client port 2379 and peer port 2380 on an address.
    ///
    /// # Panics
    /// When etcd is not installed or does not come up.
    #[track_caller]
    pub fn start(host: &Host, at: IpAddr) -> Self {
        let folder = host.folder().join("etcd");
        fs::create_dir_all(&folder).expect("a folder for etcd");
        let url = |port: u16| format!("http://{}", SocketAddr::new(at, port));
        let mut command = host.command(binary("etcd"));
        command
            .args(["--name", host.name(), "--data-dir"])
            .arg(folder.join("data"))
            .args(["--listen-client-urls", &url(2379), "--advertise-client-urls", &url(2379)])
            .args(["--listen-peer-urls", &url(2380), "--initial-advertise-peer-urls", &url(2380)])
            .args(["--initial-cluster", &format!("{}={}", host.name(), url(2380))])
            // Nothing here outlives the lab.
            .arg("--unsafe-no-fsync");
        let process = Process::start("etcd", &folder, &mut command);
        await_tcp(host, (at, 2379).into(), &process);
        Self { process }
    }
}

/// The real nginx, one worker, one page.
pub struct Nginx {
    /// The running server.
    pub process: Process,
}

impl Nginx {
    /// Starts it on some ports of an address.
    ///
    /// # Panics
    /// When nginx is not installed or does not come up.
    #[track_caller]
    pub fn start(host: &Host, at: IpAddr, ports: &[u16]) -> Self {
        let folder = host.folder().join("nginx");
        fs::create_dir_all(&folder).expect("a folder for nginx");
        let place = folder.display();
        let listen: String =
            ports.iter().map(|&port| format!("listen {};", SocketAddr::new(at, port))).collect();
        let text = format!(
            "daemon off; worker_processes 1; error_log stderr; pid {place}/pid;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off;\n\
             client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi;\n\
             scgi_temp_path {place}/scgi;\n\
             server {{ {listen} location / {{ return 200 \"{}\\n\"; }} }} }}\n",
            host.name()
        );
        let config = folder.join("nginx.conf");
        fs::write(&config, text).expect("a file of the lab");
        // Workers run as another user and write below the folder.
        open_path(&folder);
        let mut command = host.command(binary("nginx"));
        command.arg("-p").arg(&folder).arg("-c").arg(&config).args(["-e", "stderr"]);
        let process = Process::start("nginx", &folder, &mut command);
        for &port in ports {
            await_tcp(host, (at, port).into(), &process);
        }
        Self { process }
    }
}

fn open_path(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("our own folder");
}

#[track_caller]
fn await_tcp(host: &Host, at: SocketAddr, process: &Process) {
    // From the host itself: loopback traffic is never judged.
    wait_until(&format!("{at} answers on {}\n{}", host.name(), process.log()), START, || {
        host.inside(|| TcpStream::connect_timeout(&at, Duration::from_secs(1))).is_ok()
    });
}
