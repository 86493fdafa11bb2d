//! What a node forwards: left alone without a policy about it, judged with one,
//! before and behind the kernel's translation of addresses. The router has a
//! client on one side and a server on the other.

use std::net::{IpAddr, SocketAddr};

use hostfw_scenario::{
    Echo, Firewall, Host, Lab, Reach, Stream, lab, reaches,
    scene::{MS, SECOND, SILENCE, policy, wait_until_up},
    udp,
};

const CLIENT: [u8; 4] = [10, 9, 0, 2];
const OUTSIDE: [u8; 4] = [10, 9, 0, 1];
const SERVER: [u8; 4] = [198, 51, 100, 2];

/// Client, router and server.
fn way(lab: &Lab) -> (Host, Host, Host) {
    let (client, router, server) = (lab.host("client"), lab.host("router"), lab.host("server"));
    lab.cable((&client, "eth0", "02:00:00:00:00:01"), (&router, "eth0", "02:00:00:00:00:02"));
    lab.cable((&server, "eth0", "02:00:00:00:00:03"), (&router, "eth1", "02:00:00:00:00:04"));
    client.ip("link set eth0 up\naddr add 10.9.0.2/24 dev eth0\nroute add default via 10.9.0.1\n");
    router.ip("link set eth0 up\naddr add 10.9.0.1/24 dev eth0\n\
         link set eth1 up\naddr add 198.51.100.1/24 dev eth1\n");
    server.ip("link set eth0 up\naddr add 198.51.100.2/24 dev eth0\n\
         route add default via 198.51.100.1\n");
    wait_until_up(&[(&client, "eth0"), (&router, "eth0"), (&router, "eth1"), (&server, "eth0")]);
    router.sysctl("net/ipv4/ip_forward", "1");
    (client, router, server)
}

fn at(address: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(address), port)
}

/// A policy about what is forwarded.
fn about_forwarding(lists: &str) -> String {
    policy("transit", lists)
        .replace("name: transit\n", "name: transit\n  annotations: {hostfw.io/scope: forward}\n")
}

/// Clients may speak with servers on port 7.
const ALLOW: &str = "ingress:\n\
    - fromCIDR: [10.9.0.0/24]\n\
    \x20 toPorts: [{ports: [{port: \"7\"}]}]\n\
    egress:\n\
    - toCIDR: [198.51.100.0/24]\n";

/// T17.
#[test]
fn what_is_forwarded_is_judged_only_by_a_policy_about_it() {
    let lab = lab!();
    let (client, router, server) = way(&lab);
    let _echo = [7, 8].map(|port| Echo::start(&server, at(SERVER, port)));
    let _client_echo = Echo::start(&client, at(CLIENT, 7));
    let mut firewall = Firewall::new(&router);
    firewall.policy("node.yaml", &policy("node", "ingress: [{}]\negress: [{}]\n"));
    firewall.start();
    // Full default deny for the router itself is nothing to others.
    assert_eq!(reaches(&client, at(SERVER, 7), SECOND), Reach::Open);
    assert_eq!(reaches(&client, at(SERVER, 8), SECOND), Reach::Open);
    assert_eq!(reaches(&client, at(OUTSIDE, 7), SILENCE), Reach::Silent);

    // A connection is live when the first policy about it comes.
    let live = Stream::start(&server, &client, at(CLIENT, 10), MS);
    let good = Stream::start(&client, &server, at(SERVER, 9), MS);
    assert!(live.flows_within(SECOND) && good.flows_within(SECOND));
    let allow = ALLOW.replace("\"7\"}", "\"7\"}, {port: \"9\"}");
    firewall.apply(|firewall| firewall.policy("transit.yaml", &about_forwarding(&allow)));
    assert!(good.flows_within(SECOND), "an admitted connection goes on, answers and all");
    assert!(!live.flows_within(SILENCE), "nothing admits this one");
    assert_eq!(reaches(&client, at(SERVER, 7), SECOND), Reach::Open);
    assert_eq!(reaches(&client, at(SERVER, 8), SILENCE), Reach::Silent);
    assert_eq!(reaches(&server, at(CLIENT, 7), SILENCE), Reach::Silent, "nobody asked");

    let question = udp(&client, at(SERVER, 7), SECOND);
    question.send(b"there").expect("sent");
    let mut answer = [0; 5];
    assert_eq!(question.recv(&mut answer).expect("the answer passes"), 5);

    let report = firewall.audit();
    let denied = report.flows.iter().find(|flow| flow.port == 8).expect("it is told");
    assert_eq!(denied.peer, IpAddr::from(CLIENT));
    assert_eq!(denied.forwarded_to, Some(IpAddr::from(SERVER)));
    let _ended = (live.stop(), good.stop());
}

/// T18: the same connection by its port on the router and by that of the
/// server, each by a policy of its own.
#[test]
fn a_port_that_is_translated_has_a_rule_before_and_one_behind() {
    let lab = lab!();
    let (client, router, server) = way(&lab);
    let _echo = [7, 8].map(|port| Echo::start(&server, at(SERVER, port)));
    router.nft(
        "table ip nat {\n\
         chain before { type nat hook prerouting priority dstnat;\n\
         ip daddr 10.9.0.1 meta l4proto { tcp, udp } th dport 30007 dnat to 198.51.100.2:7\n\
         ip daddr 10.9.0.1 meta l4proto { tcp, udp } th dport 30008 dnat to 198.51.100.2:8\n}\n\
         chain behind { type nat hook postrouting priority srcnat;\n\
         oifname eth1 masquerade\n}\n}\n",
    );
    let mut firewall = Firewall::new(&router);
    let before = "ingress:\n- fromCIDR: [10.9.0.0/24]\n  \
                  toPorts: [{ports: [{port: \"30007\"}, {port: \"30008\", protocol: TCP}]}]\n";
    firewall.policy("node.yaml", &policy("node", before));
    firewall.policy(
        "transit.yaml",
        &about_forwarding(
            "egress:\n- toCIDR: [198.51.100.0/24]\n  toPorts: [{ports: [{port: \"7\"}]}]\n",
        ),
    );
    firewall.start();
    assert_eq!(reaches(&client, at(OUTSIDE, 30_007), SECOND), Reach::Open);
    assert_eq!(reaches(&client, at(OUTSIDE, 30_008), SILENCE), Reach::Silent, "denied behind");
    for _ in 0..3 {
        let question = udp(&client, at(OUTSIDE, 30_007), SECOND);
        question.send(b"there").expect("sent");
        let mut answer = [0; 5];
        assert_eq!(question.recv(&mut answer).expect("the answer comes back"), 5);
    }

    let narrow = before.replace("30007", "30009");
    firewall.apply(|firewall| firewall.policy("node.yaml", &policy("node", &narrow)));
    assert_eq!(reaches(&client, at(OUTSIDE, 30_007), SILENCE), Reach::Silent, "denied before");
    assert_eq!(reaches(&client, at(SERVER, 7), SECOND), Reach::Open, "not translated");
}
