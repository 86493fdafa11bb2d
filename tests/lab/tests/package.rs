//! The life of a package on a real host: installed, configured, reloaded,
//! upgraded under traffic, booted, removed and purged.
#![allow(clippy::print_stdout, reason = "counts are worth showing")]

use std::{fs, net::SocketAddr};

use hostfw_lab::Guest;
use hostfw_scenario::{
    Connections, Datagrams, Echo, Host, Lab, Reach, lab, reaches,
    scene::{MS, SECOND, SILENCE, node_port, open_port, pair, policy},
    wait_until,
};

const POLICY: &str = "/etc/hostfw/policies.d/test.yaml";

/// TCP port 7 and UDP port 9000, nothing else.
fn two_ports() -> String {
    policy("test", &format!("ingress:\n{}{}", open_port(7, "TCP"), open_port(9000, "UDP")))
}

fn packages() -> Vec<String> {
    let folder =
        std::env::var("HOSTFW_LAB_PACKAGES").expect("`cargo xtask lab` names the packages");
    let entries = fs::read_dir(folder).expect("the folder of the packages").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "one package to install and one to upgrade to: {names:?}");
    names
}

fn install(guest: &Guest<'_>, package: &str) -> String {
    guest.does(&format!("DEBIAN_FRONTEND=noninteractive dpkg --install /packages/{package}"))
}

/// A guest on one end of a cable, with the older package and a policy in force.
fn protected<'host>(node: &'host Host, peer: &Host) -> Guest<'host> {
    let mut guest = Guest::new(node);
    guest.boot();
    install(&guest, &packages()[0]);
    guest.write(POLICY, &two_ports());
    wait_until("the policy is in force", 5 * SECOND, || closed(peer, 8));
    guest
}

fn closed(peer: &Host, port: u16) -> bool {
    reaches(peer, node_port(port), SILENCE) == Reach::Silent
}

fn open(peer: &Host, port: u16) -> bool {
    reaches(peer, node_port(port), SECOND) == Reach::Open
}

/// Servers at an allowed and a denied port.
fn servers(node: &Host) -> (Echo, Echo) {
    (Echo::start(node, node_port(7)), Echo::start(node, node_port(8)))
}

/// What must all pass, and what must never.
struct Traffic {
    allowed: (Datagrams, Connections),
    denied: (Datagrams, Connections),
}

impl Traffic {
    fn start(node: &Host, peer: &Host) -> Self {
        let at = |port: u16| -> SocketAddr { node_port(port) };
        Self {
            allowed: (
                Datagrams::start(peer, node, at(9000), MS),
                Connections::start(peer, at(7), SECOND, MS),
            ),
            denied: (
                Datagrams::start(peer, node, at(9002), MS),
                Connections::start(peer, at(8), 50 * MS, MS),
            ),
        }
    }

    fn stop(self, what: &str) {
        for count in [self.allowed.0.stop(), self.allowed.1.stop()] {
            println!("{what}, allowed: {count:?}");
            assert!(count.sent > 100, "{what}: {count:?} is no proof");
            assert_eq!(count.lost(), 0, "{what}, allowed: {count:?}");
        }
        for count in [self.denied.0.stop(), self.denied.1.stop()] {
            println!("{what}, denied: {count:?}");
            assert!(count.sent > 10, "{what}: {count:?} is no proof");
            assert_eq!(count.arrived, 0, "{what}, denied: {count:?}");
        }
    }
}

#[test]
fn a_package_is_installed_configured_upgraded_and_taken_away() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = Guest::new(&node);
    guest.boot();

    // Installed: the daemon runs, under its whole hardening, and enforces
    // nothing that nobody has asked for.
    install(&guest, &packages()[0]);
    assert_eq!(guest.does("systemctl is-active hostfw").trim(), "active");
    assert_eq!(guest.does("systemctl is-enabled hostfw").trim(), "enabled");
    assert_eq!(guest.does("stat -c '%U:%G %a' /run/hostfw/api.sock").trim(), "root:hostfw 660");
    let security = "systemd-analyze security hostfw --threshold=19 --no-pager";
    assert!(guest.does(security).contains("1.7 OK"), "{}", guest.does(security));
    assert!(open(&peer, 8));

    // A policy is taken by itself; a member of the group sees it.
    guest.write(POLICY, &two_ports());
    wait_until("the policy is in force", 5 * SECOND, || closed(&peer, 8));
    assert!(open(&peer, 7));
    guest.does("useradd --groups hostfw watcher");
    guest.does("setpriv --reuid=watcher --regid=watcher --init-groups hostfw status");
    assert!(!guest.run("setpriv --reuid=nobody --clear-groups hostfw status").ok);

    // A reload that the files make fail fails, says why, and changes nothing.
    guest.write("/etc/hostfw/policies.d/broken.yaml", "kind: [");
    assert!(!guest.run("systemctl reload hostfw").ok);
    let journal = guest.does("journalctl --no-pager --unit=hostfw --lines=20");
    assert!(journal.contains("broken.yaml:1:7: error[yaml-syntax]"), "{journal}");
    assert!(closed(&peer, 8) && open(&peer, 7));
    guest.does("rm /etc/hostfw/policies.d/broken.yaml");
    guest.write(POLICY, &policy("test", &format!("ingress:\n{}", open_port(8, "TCP"))));
    guest.does("systemctl reload hostfw");
    assert!(closed(&peer, 7) && open(&peer, 8));
    guest.write(POLICY, &two_ports());
    guest.does("systemctl reload hostfw");

    // Upgraded and restarted under traffic: nothing is lost, nothing leaks.
    guest.does("echo '# mine' >>/etc/hostfw/hostfw.yaml");
    let process = guest.does("systemctl show --property=MainPID --value hostfw");
    let traffic = Traffic::start(&node, &peer);
    install(&guest, &packages()[1]);
    std::thread::sleep(300 * MS);
    guest.does("systemctl restart hostfw");
    std::thread::sleep(300 * MS);
    guest.does("systemctl kill --signal=KILL hostfw");
    std::thread::sleep(2 * SECOND);
    traffic.stop("upgrade, restart, kill");
    assert!(guest.does("dpkg-query --show hostfw").trim().ends_with("-2"));
    assert_eq!(guest.does("systemctl is-active hostfw").trim(), "active");
    assert_ne!(guest.does("systemctl show --property=MainPID --value hostfw"), process);
    assert!(guest.does("cat /etc/hostfw/hostfw.yaml").ends_with("# mine\n"));

    // Stopped: enforcement stays. Removed: it ends, and nothing is left.
    guest.does("systemctl stop hostfw");
    assert!(closed(&peer, 8) && open(&peer, 7));
    guest.does("dpkg --remove hostfw");
    wait_until("the host is open", 5 * SECOND, || open(&peer, 8));
    assert!(!guest.has("/usr/sbin/hostfwd") && !guest.run("systemctl start hostfw").ok);
    assert!(!guest.has("/sys/fs/bpf/hostfw/links"));
    assert!(guest.has("/etc/hostfw/hostfw.yaml") && guest.has("/var/lib/hostfw"));

    // Purged: what the daemon kept goes, what the operator wrote stays.
    guest.does("dpkg --purge hostfw");
    assert!(!guest.has("/etc/hostfw/hostfw.yaml") && !guest.has("/var/lib/hostfw"));
    assert!(guest.has(POLICY));
    assert_eq!(guest.does("systemctl is-system-running || :").trim(), "running");
    guest.power_off();
}

/// L4.
#[test]
fn nothing_that_is_denied_passes_during_a_boot() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = protected(&node, &peer);
    // What a network service does: it brings the device up as soon as it may.
    guest.write(
        "/etc/systemd/system/cable.service",
        "[Unit]\nDefaultDependencies=no\nAfter=network-pre.target\nBefore=network.target\n\
         [Service]\nType=oneshot\nExecStart=ip link set eth0 up\n\
         [Install]\nWantedBy=multi-user.target\n",
    );
    guest.does("systemctl enable cable.service");

    let denied = Datagrams::start(&peer, &node, node_port(9002), MS);
    node.ip("link set eth0 down");
    guest.power_off();
    guest.boot();
    assert!(open(&peer, 7), "the device is up again");
    assert!(closed(&peer, 8));
    let count = denied.stop();
    println!("boot, denied: {count:?}");
    assert!(count.sent > 100, "{count:?} is no proof");
    assert_eq!(count.arrived, 0, "{count:?}");
    let order = guest.does(
        "systemctl show --property=ActiveEnterTimestampMonotonic --value hostfw cable.service",
    );
    println!("in force and cable up, in microseconds: {}", order.trim().replace("\n\n", ", "));
    guest.power_off();
}

/// A boot does not wait for a daemon that cannot start.
#[test]
fn a_boot_with_a_broken_configuration_comes_up() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = protected(&node, &peer);
    guest.write("/etc/hostfw/hostfw.yaml", "nonsense: true\n");
    guest.power_off();
    guest.boot();
    let journal = guest.does("journalctl --no-pager --unit=hostfw --boot");
    assert!(journal.contains("hostfw.yaml:1:1"), "{journal}");
    // It is tried again and again, so a repair is enough.
    guest.write("/etc/hostfw/hostfw.yaml", "audit: false\n");
    wait_until("the repaired daemon enforces", 10 * SECOND, || closed(&peer, 8));
    guest.power_off();
}

/// The last good generation outlives the machine's own start.
#[test]
fn a_boot_with_refused_policies_enforces_the_last_good_ones() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = protected(&node, &peer);
    guest.write("/etc/hostfw/policies.d/broken.yaml", "kind: [");
    guest.power_off();
    guest.boot();
    wait_until("the last good generation is in force", 10 * SECOND, || closed(&peer, 8));
    assert!(open(&peer, 7));
    let status = guest.run("hostfw status");
    assert!(!status.ok && status.text.contains("the last good generation stays in force"));
    guest.power_off();
}
