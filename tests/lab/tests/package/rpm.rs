//! The .rpm under dnf and systemd, on a Debian that has both: dependencies are
//! resolved and scriptlets run as on a host that lives by dnf, with the unit
//! under the same systemd as the .deb.

use hostfw_lab::{Guest, NEWER, OLDER};
use hostfw_scenario::{
    Host, Lab, lab,
    scene::{MS, SECOND, pair},
    wait_until,
};

use crate::scene::{POLICY, Traffic, closed, nothing_is_left, open, process, protect, servers};

/// Attached in the older way, which leaves something of its own to take away.
const EDITED: &str = "devices:\n  attach: clsact\n";

/// A guest that has the older package, and what any host with dnf has.
fn installed(node: &Host) -> Guest<'_> {
    let mut guest = Guest::new(node);
    guest.boot();
    guest.dnf("install base");
    guest.dnf(&format!("install hostfw-{OLDER}"));
    assert_eq!(version(&guest), OLDER);
    guest
}

fn version(guest: &Guest<'_>) -> String {
    guest.does("rpm --query --queryformat '%{VERSION}-%{RELEASE}' hostfw")
}

/// Whether the unit is enabled, and whether it runs.
fn unit(guest: &Guest<'_>) -> (String, String) {
    let said = |verb: &str| guest.run(&format!("systemctl {verb} hostfw")).text.trim().to_owned();
    (said("is-enabled"), said("is-active"))
}

#[test]
fn an_rpm_is_upgraded_and_downgraded_under_traffic() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = installed(&node);

    // Enabled by whoever wants it; the files are as the package has them.
    assert_eq!(unit(&guest), ("disabled".into(), "inactive".into()));
    assert_eq!(guest.does("rpm --verify hostfw"), "");
    guest.write("/etc/hostfw/hostfw.yaml", EDITED);
    guest.does("systemctl enable --now hostfw");
    assert_eq!(guest.does("stat -c '%U:%G %a' /run/hostfw/api.sock").trim(), "root:hostfw 660");
    protect(&guest, &peer);
    assert!(open(&peer, 7));
    assert_ne!(guest.does("tc filter show dev eth0 ingress"), "");

    let first = process(&guest);
    let traffic = Traffic::start(&node, &peer);
    guest.dnf("upgrade");
    assert_eq!(version(&guest), NEWER);
    let second = process(&guest);
    guest.does("systemctl restart hostfw");
    std::thread::sleep(300 * MS);
    guest.does("systemctl kill --signal=KILL hostfw");
    std::thread::sleep(2 * SECOND);
    traffic.stop("dnf upgrade, restart, kill");
    assert_ne!(first, second);
    let is_back = || unit(&guest) == ("enabled".into(), "active".into());
    wait_until("the killed daemon is back", 10 * SECOND, is_back);
    assert_eq!(guest.does("cat /etc/hostfw/hostfw.yaml"), EDITED);
    assert!(guest.does("cat /etc/hostfw/hostfw.yaml.rpmnew").ends_with("# Revision 2.\n"));
    // Nothing but the configuration differs from the package.
    let verified = guest.run("rpm --verify hostfw").text;
    assert_eq!(verified.lines().count(), 1, "{verified}");
    assert!(verified.contains("  c /etc/hostfw/hostfw.yaml"), "{verified}");

    let second = process(&guest);
    let traffic = Traffic::start(&node, &peer);
    guest.dnf("downgrade hostfw");
    assert_eq!(version(&guest), OLDER);
    std::thread::sleep(300 * MS);
    guest.dnf("reinstall hostfw");
    std::thread::sleep(300 * MS);
    traffic.stop("dnf downgrade, reinstallation");
    assert_ne!(process(&guest), second);
    assert_eq!(unit(&guest), ("enabled".into(), "active".into()));
    assert_eq!(guest.does("cat /etc/hostfw/hostfw.yaml"), EDITED);
    assert!(closed(&peer, 8) && open(&peer, 7));
    assert_eq!(guest.does("systemctl is-system-running || :").trim(), "running");
    guest.power_off();
}

#[test]
fn an_rpm_is_erased_and_installed_again() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = installed(&node);

    // Who has not enabled it is not given it by an upgrade.
    guest.dnf("upgrade");
    assert_eq!(unit(&guest), ("disabled".into(), "inactive".into()));
    assert!(guest.does("cat /etc/hostfw/hostfw.yaml").ends_with("# Revision 2.\n"));

    guest.write("/etc/hostfw/hostfw.yaml", EDITED);
    guest.does("systemctl enable --now hostfw");
    protect(&guest, &peer);
    guest.dnf("remove hostfw");
    wait_until("the host is open", 5 * SECOND, || open(&peer, 8));
    nothing_is_left(&guest);
    assert_eq!(unit(&guest).1, "inactive");
    assert!(!guest.has("/usr/sbin/hostfwd") && !guest.run("systemctl start hostfw").ok);
    assert!(!guest.has("/etc/systemd/system/multi-user.target.wants/hostfw.service"));
    assert!(!guest.has("/etc/hostfw/hostfw.yaml") && guest.has(POLICY));
    assert_eq!(guest.does("cat /etc/hostfw/hostfw.yaml.rpmsave"), EDITED);

    // Installed again, it waits to be enabled, and then enforces at once.
    guest.dnf(&format!("install hostfw-{OLDER}"));
    assert_eq!(unit(&guest), ("disabled".into(), "inactive".into()));
    assert!(open(&peer, 8));
    guest.does("systemctl enable --now hostfw");
    assert!(closed(&peer, 8) && open(&peer, 7));

    // A daemon that cannot start hinders neither another version nor the end.
    guest.write("/etc/hostfw/hostfw.yaml", "nonsense: true\n");
    guest.dnf("upgrade");
    assert_eq!(version(&guest), NEWER);
    assert!(!guest.run("hostfw status").ok);
    assert!(closed(&peer, 8) && open(&peer, 7));
    guest.dnf("remove hostfw");
    wait_until("the host is open", 5 * SECOND, || open(&peer, 8));
    nothing_is_left(&guest);
    assert_eq!(guest.does("systemctl is-system-running || :").trim(), "running");
    guest.power_off();
}
