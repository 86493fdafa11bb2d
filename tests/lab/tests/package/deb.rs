//! The .deb under apt and systemd.

use hostfw_lab::{Guest, NEWER, OLDER};
use hostfw_scenario::{
    Host, Lab, lab,
    scene::{MS, SECOND, open_port, pair, policy},
    wait_until,
};

use crate::scene::{
    POLICY, Traffic, closed, nothing_is_left, open, process, protect, servers, three_ports,
};

/// A guest on one end of a cable, with the older package and a policy in force.
pub(crate) fn protected<'host>(node: &'host Host, peer: &Host) -> Guest<'host> {
    let mut guest = Guest::new(node);
    guest.boot();
    guest.apt_get(&format!("install hostfw={OLDER}"));
    protect(&guest, peer);
    guest
}

/// The version that dpkg has and the state that systemd sees.
#[track_caller]
fn runs(guest: &Guest<'_>, version: &str) {
    assert_eq!(guest.does("dpkg-query --show --showformat='${Version}' hostfw"), version);
    assert_eq!(guest.does("systemctl is-active hostfw").trim(), "active");
    assert_eq!(guest.does("systemctl is-enabled hostfw").trim(), "enabled");
}

#[test]
fn a_deb_is_installed_configured_and_reloaded() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = Guest::new(&node);
    guest.boot();

    // Installed: the daemon runs, under its whole hardening, and enforces
    // nothing that nobody has asked for.
    guest.apt_get(&format!("install hostfw={OLDER}"));
    runs(&guest, OLDER);
    assert_eq!(guest.does("stat -c '%U:%G %a' /run/hostfw/api.sock").trim(), "root:hostfw 660");
    let security = "systemd-analyze security hostfw --threshold=19 --no-pager";
    assert!(guest.does(security).contains("1.7 OK"), "{}", guest.does(security));
    assert!(open(&peer, 8));

    // A policy is taken by itself; a member of the group sees it.
    protect(&guest, &peer);
    assert!(open(&peer, 7));
    guest.does("useradd --groups hostfw watcher");
    guest.does("setpriv --reuid=watcher --regid=watcher --init-groups hostfw status");
    assert!(!guest.run("setpriv --reuid=nobody --clear-groups hostfw status").ok);

    // A reload that the files make fail fails, says why, and changes nothing.
    guest.write("/etc/hostfw/policies.d/broken.yaml", "kind: [");
    assert!(!guest.run("systemctl reload hostfw").ok);
    wait_until("the journal says why", 10 * SECOND, || {
        let journal = guest.does("journalctl --no-pager --unit=hostfw --lines=20");
        journal.contains("broken.yaml:1:7: error[yaml-syntax]")
    });
    assert!(closed(&peer, 8) && open(&peer, 7));
    guest.does("rm /etc/hostfw/policies.d/broken.yaml");
    guest.write(POLICY, &policy("test", &format!("ingress:\n{}", open_port(8, "TCP"))));
    guest.does("systemctl reload hostfw");
    assert!(closed(&peer, 7) && open(&peer, 8));
    guest.write(POLICY, &three_ports());
    guest.does("systemctl reload hostfw");
    assert!(closed(&peer, 8) && open(&peer, 7));
    assert_eq!(guest.does("systemctl is-system-running || :").trim(), "running");
    guest.power_off();
}

#[test]
fn a_deb_is_upgraded_and_downgraded_under_traffic() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = protected(&node, &peer);
    guest.does("echo '# mine' >>/etc/hostfw/hostfw.yaml");
    let edited = guest.does("cat /etc/hostfw/hostfw.yaml");
    let first = process(&guest);

    let traffic = Traffic::start(&node, &peer);
    guest.apt_get("upgrade");
    runs(&guest, NEWER);
    let second = process(&guest);
    guest.does("systemctl restart hostfw");
    std::thread::sleep(300 * MS);
    guest.does("systemctl kill --signal=KILL hostfw");
    std::thread::sleep(2 * SECOND);
    traffic.stop("upgrade, restart, kill");
    assert_ne!(first, second);
    // The package's own file is laid beside the edited one.
    assert_eq!(guest.does("cat /etc/hostfw/hostfw.yaml"), edited);
    assert!(guest.does("cat /etc/hostfw/hostfw.yaml.dpkg-dist").ends_with("# Revision 2.\n"));

    let second = process(&guest);
    let traffic = Traffic::start(&node, &peer);
    guest.apt_get(&format!("install --allow-downgrades hostfw={OLDER}"));
    runs(&guest, OLDER);
    std::thread::sleep(300 * MS);
    guest.apt_get(&format!("install --reinstall hostfw={OLDER}"));
    std::thread::sleep(300 * MS);
    traffic.stop("downgrade, reinstallation");
    runs(&guest, OLDER);
    assert_ne!(process(&guest), second);
    assert_eq!(guest.does("cat /etc/hostfw/hostfw.yaml"), edited);
    assert!(closed(&peer, 8) && open(&peer, 7));
    guest.does("hostfw status");
    assert_eq!(guest.does("systemctl is-system-running || :").trim(), "running");
    guest.power_off();
}

#[test]
fn a_deb_is_removed_installed_again_and_purged() {
    let lab: Lab = lab!();
    let (node, peer) = pair(&lab);
    let _servers = servers(&node);
    let mut guest = protected(&node, &peer);

    // Stopped: enforcement stays. Removed: it ends, and nothing is left.
    guest.does("systemctl stop hostfw");
    assert!(closed(&peer, 8) && open(&peer, 7));
    guest.apt_get("remove hostfw");
    wait_until("the host is open", 5 * SECOND, || open(&peer, 8));
    assert!(!guest.has("/usr/sbin/hostfwd") && !guest.run("systemctl start hostfw").ok);
    nothing_is_left(&guest);
    assert!(guest.has("/etc/hostfw/hostfw.yaml") && guest.has("/var/lib/hostfw"));

    // Installed again, it enforces at once what is still there.
    guest.apt_get("install hostfw");
    runs(&guest, NEWER);
    assert!(closed(&peer, 8) && open(&peer, 7));
    assert!(guest.does("cat /etc/hostfw/hostfw.yaml").ends_with("# Revision 2.\n"));

    // A daemon that cannot start hinders neither another version nor the end.
    guest.write("/etc/hostfw/hostfw.yaml", "nonsense: true\n");
    guest.apt_get(&format!("install --allow-downgrades hostfw={OLDER}"));
    assert!(!guest.run("hostfw status").ok);
    assert!(closed(&peer, 8) && open(&peer, 7));

    // Purged: what the daemon kept goes, what the operator wrote stays.
    guest.apt_get("purge hostfw");
    wait_until("the host is open", 5 * SECOND, || open(&peer, 8));
    nothing_is_left(&guest);
    assert!(!guest.has("/etc/hostfw/hostfw.yaml") && !guest.has("/var/lib/hostfw"));
    assert!(guest.has(POLICY));
    assert_eq!(guest.does("systemctl is-system-running || :").trim(), "running");
    guest.power_off();
}
