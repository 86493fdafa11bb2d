//! The package on machines with kernels of their own: booted with nothing in
//! force, given a policy, and booted again while somebody knocks all the time.
#![allow(clippy::print_stdout, reason = "counts are worth showing")]

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Instant,
};

use hostfw_lab::Machine;
use hostfw_scenario::{
    Connections, Host, Lab, Reach, lab, reaches,
    scene::{MS, SECOND, node_port, open_port, policy},
    wait_until,
};

/// Ports of datagrams.
const ALLOWED: u16 = 9000;
const DENIED: u16 = 9002;

/// Numbered datagrams to both ports, whether the machine is there or not.
struct Knocking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Knocking {
    fn start(peer: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let socket = peer.inside(|| UdpSocket::bind("0.0.0.0:0")).expect("a free port");
        let stop_sender = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number: u64 = 0;
            while !stop_sender.load(SeqCst) {
                for port in [ALLOWED, DENIED] {
                    // An error is the answer to an earlier one, or says that the
                    // machine is off.
                    drop(socket.send_to(&number.to_be_bytes(), node_port(port)));
                }
                number += 1;
                std::thread::sleep(10 * MS);
            }
            number
        });
        Self { stop, thread }
    }

    /// Stops, and says how many were sent to each port.
    fn stop(self) -> u64 {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("the sender does not panic")
    }
}

/// How many datagrams have reached each port of the machine since it was booted.
fn arrived(machine: &Machine<'_>) -> [u64; 2] {
    let files = [ALLOWED, DENIED].map(|port| format!("/run/arrived-{port}")).join(" ");
    let sizes = machine.does(&format!("stat --format=%s {files}"));
    let sizes: Vec<u64> = sizes.lines().flat_map(str::parse).collect();
    [sizes[0] / 8, sizes[1] / 8]
}

/// The network service of the distribution, and servers that are there before it.
fn furnish(machine: &mut Machine<'_>) {
    machine.put(
        "/etc/systemd/network/cable.network",
        "[Match]\nType=ether\n[Network]\nAddress=192.0.2.1/24\n",
    );
    machine.enable("systemd-networkd.service");
    for (name, command) in [
        ("arrived", "socat -u UDP-RECV:%i CREATE:/run/arrived-%i"),
        ("echo", "socat TCP-LISTEN:%i,fork,reuseaddr EXEC:cat"),
    ] {
        machine.put(
            &format!("/etc/systemd/system/{name}@.service"),
            &format!(
                "[Unit]\nDefaultDependencies=no\nWants=network-pre.target\n\
                 Before=network-pre.target\n[Service]\nExecStart={command}\n\
                 [Install]\nWantedBy=multi-user.target\n"
            ),
        );
    }
    for port in [ALLOWED, DENIED] {
        machine.enable(&format!("arrived@{port}.service"));
    }
    machine.enable("echo@7.service");
    machine.enable("echo@8.service");
}

/// TCP port 7 and UDP port 9000, nothing else.
fn two_ports() -> String {
    policy("test", &format!("ingress:\n{}{}", open_port(7, "TCP"), open_port(ALLOWED, "UDP")))
}

/// What the kernel says of the daemon's process that the unit asks for.
fn assert_hardened(machine: &Machine<'_>) {
    assert_eq!(machine.does("systemctl is-active hostfw").trim(), "active");
    let security = machine.does("systemd-analyze security hostfw --threshold=19 --no-pager");
    assert!(security.contains("1.7 OK"), "{security}");
    let of_process = |file: &str| {
        let process = "$(systemctl show --property=MainPID --value hostfw)";
        machine.does(&format!("cat /proc/{process}/{file}"))
    };
    let status = of_process("status");
    for line in ["CapEff:\t000000c000001000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}\n{status}");
    }
    assert_eq!(of_process("oom_score_adj").trim(), "-900");
    let limits = of_process("limits");
    let locked = limits.lines().find(|line| line.starts_with("Max locked memory"));
    assert!(locked.is_some_and(|line| line.contains("unlimited")), "{limits}");
}

/// Installs the package on a machine with a kernel, and boots that again.
fn boots_protected(lab: &Lab, kernel: &str, hook: &str) {
    let began = Instant::now();
    let peer = lab.host("peer");
    let mut machine = Machine::new(&peer, kernel);
    // Nothing waits for an answer to who has the address.
    peer.ip("addr add 192.0.2.2/24 dev eth0\n\
             neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0");
    furnish(&mut machine);
    let tell = |what: &str| println!("{kernel}, {:.0?}: {what}", began.elapsed());
    // An emulated server may be silent for a while without any policy.
    let closed = || reaches(&peer, node_port(8), 3 * SECOND) == Reach::Silent;
    let open = |port: u16| reaches(&peer, node_port(port), 2 * SECOND) == Reach::Open;

    // Without the package everything arrives: the counts would show a leak.
    let knocking = Knocking::start(&peer);
    machine.boot();
    wait_until("the server is reached", 10 * SECOND, || open(8));
    wait_until("datagrams arrive", 20 * SECOND, || arrived(&machine).iter().all(|&n| n > 100));
    let [allowed, denied] = arrived(&machine);
    tell(&format!("booted open, {allowed} and {denied} arrived of {} each", knocking.stop()));
    let release = machine.does("uname --kernel-release");
    assert!(release.starts_with(&format!("{kernel}.")), "{release}");

    // Installed, and given a policy.
    machine.does("dpkg --install /packages/hostfw_*-1_*.deb");
    assert!(open(8));
    machine.write("/etc/hostfw/policies.d/test.yaml", &two_ports());
    // Ends when what the file says is in force.
    machine.does("systemctl reload hostfw");
    assert!(closed() && open(7));
    tell("installed, and the policy is in force");

    // Booted again: nothing has arrived since then that is denied.
    let knocking = Knocking::start(&peer);
    let connect = || Connections::start(&peer, node_port(8), 100 * MS, 10 * MS);
    let before = connect();
    std::thread::sleep(SECOND);
    let before = before.stop();
    assert_eq!(before.arrived, 0, "in force, and not booted yet: {before:?}");
    let connections = connect();
    machine.reboot();
    wait_until("the allowed port is reached", 10 * SECOND, || open(7));
    wait_until("datagrams arrive", 20 * SECOND, || arrived(&machine)[0] > 100);
    assert!(closed());
    let [allowed, denied] = arrived(&machine);
    let (sent, connections) = (knocking.stop(), connections.stop());
    tell(&format!("booted protected, {allowed} and {denied} arrived of {sent} each"));
    tell(&format!("connections to the denied port: {connections:?}"));
    assert!(connections.sent > 100, "{connections:?} is no proof");
    assert_eq!((denied, connections.arrived), (0, 0));

    // By the hook that this kernel has, and by a daemon that may do little else. It
    // answers nobody while the verifier reads the programs for other devices, and
    // that of an emulated machine takes a minute.
    wait_until("the daemon answers", 180 * SECOND, || machine.run("hostfw links").ok);
    let links = machine.does("hostfw links --output json");
    assert!(links.contains(&format!("\"attachment\": \"{hook}\"")), "{links}");
    assert_hardened(&machine);
    let order = machine.does(
        "systemctl show --property=InactiveExitTimestampMonotonic \
         --property=ActiveEnterTimestampMonotonic --value hostfw systemd-networkd",
    );
    let order = order.split_whitespace().collect::<Vec<_>>().join(", ");
    tell(&format!("daemon begun and ready, network begun and ready, in microseconds: {order}"));
}

#[test]
fn a_kernel_without_tcx_lets_nothing_denied_pass_during_a_boot() {
    boots_protected(&lab!(), "6.1", "clsact");
}

#[test]
fn a_kernel_with_tcx_lets_nothing_denied_pass_during_a_boot() {
    boots_protected(&lab!(), "6.12", "tcx");
}
