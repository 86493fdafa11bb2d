//! What a host with the package does when it boots: nothing that is denied
//! passes, and nothing that is wrong keeps it from coming up.

use hostfw_scenario::{
    Datagrams, Lab, lab,
    scene::{MS, SECOND, node_port, pair},
    wait_until,
};

use crate::{
    deb::protected,
    scene::{closed, open, servers},
};

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
    wait_until("the device is up again", 10 * SECOND, || open(&peer, 7));
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
