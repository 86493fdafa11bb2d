//! Addresses from real DHCP servers, by real clients, under full default deny.

use hostfw_scenario::{
    DhcpServer, Dhcpcd, Firewall, Lab, Udhcpc, lab, ping,
    scene::{PEER, SECOND, SILENCE, policy},
    wait_until,
};

/// Nothing is allowed in any direction.
const NOTHING: &str = "ingress:\n- {}\negress:\n- {}\n";

/// A node without any address, and a server for both families.
fn node_and_server(lab: &Lab) -> (hostfw_scenario::Host, hostfw_scenario::Host) {
    let (node, server) = (lab.host("node"), lab.host("server"));
    lab.cable((&node, "eth0", "02:00:00:00:00:01"), (&server, "eth0", "02:00:00:00:00:02"));
    server.ip("link set eth0 up\naddr add 192.0.2.2/24 dev eth0\n\
               addr add 2001:db8::2/64 dev eth0 nodad\n");
    node.ip("link set eth0 up\n");
    (node, server)
}

/// T14.
#[test]
fn leases_of_both_families_are_got_and_renewed_under_full_default_deny() {
    let lab = lab!();
    let (node, server) = node_and_server(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.configure("devices: {include: [eth0]}\n");
    firewall.policy("test.yaml", &policy("test", NOTHING));
    firewall.start();
    let ranges = ["192.0.2.50,192.0.2.60,120", "2001:db8::1000,2001:db8::1fff,64,120"];
    let dhcp = DhcpServer::start(&server, "eth0", &ranges);
    let addresses = || node.ip_output(&["-o", "addr", "show", "dev", "eth0"]);
    let (v4, v6) = (Udhcpc::start(&node, "eth0"), Dhcpcd::start(&node, "eth0"));
    wait_until("an IPv4 lease", 10 * SECOND, || addresses().contains("inet 192.0.2.5"));
    wait_until("an IPv6 lease", 10 * SECOND, || addresses().contains("inet6 2001:db8::1"));
    // Renewals come to addresses that are known to be this node's.
    firewall.await_status("the new addresses", |status| {
        let has = |prefix: &str| {
            let mut addresses = status.devices.iter().flat_map(|link| &link.addresses);
            addresses.any(|address| address.starts_with(prefix))
        };
        has("192.0.2.5") && has("2001:db8::1")
    });

    let n_acks = dhcp.n_messages("DHCPACK");
    v4.renew();
    wait_until("the IPv4 lease is renewed", 10 * SECOND, || dhcp.n_messages("DHCPACK") > n_acks);
    wait_until("the client has heard of it", 5 * SECOND, || {
        v4.process.log().matches("obtained").count() >= 2
    });
    v6.renew();
    wait_until("the IPv6 lease is renewed", 10 * SECOND, || dhcp.n_messages("DHCPRENEW") >= 1);
    wait_until("the client has heard of it", 5 * SECOND, || {
        v6.process.log().matches("REPLY6 received").count() >= 2
    });
    // All by rules that are listed and counted, and nothing else passes.
    let rules = firewall.rules().rules;
    for text in ["own DHCP client", "answers to the own DHCP client"] {
        let rule = rules.iter().find(|rule| rule.summary.starts_with(text));
        assert!(rule.is_some_and(|rule| rule.packets > 0), "{text}: {rules:#?}");
    }
    for text in ["own DHCPv6 client", "answers to the own DHCPv6 client"] {
        let rule = rules.iter().find(|rule| rule.summary.starts_with(text));
        assert!(rule.is_some_and(|rule| rule.packets > 0), "{text}: {rules:#?}");
    }
    assert!(!ping(&node, PEER, SILENCE), "egress is denied");
}

/// The rules that T14 needs can be switched off.
#[test]
fn without_the_built_in_rules_no_lease_is_got() {
    let lab = lab!();
    let (node, server) = node_and_server(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.configure("devices: {include: [eth0]}\nbuiltins: {dhcp: false}\n");
    firewall.policy("test.yaml", &policy("test", NOTHING));
    firewall.start();
    let dhcp = DhcpServer::start(&server, "eth0", &["192.0.2.50,192.0.2.60,120"]);
    let _client = Udhcpc::start(&node, "eth0");
    std::thread::sleep(2 * SECOND);
    assert_eq!(dhcp.n_messages("DHCPDISCOVER"), 0, "{}", dhcp.process.log());
    assert!(!node.ip_output(&["addr", "show", "dev", "eth0"]).contains("inet 192.0.2."));
}
