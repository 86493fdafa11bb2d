//! Protocols without ports by rule, and packets for groups of hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6, UdpSocket};

use hostfw_scenario::{
    Firewall, Host, LinkSocket, contains, lab,
    packet::{self, Mac, ethernet},
    scene::{MS, NODE, NODE_MAC, NODE6, PEER, PEER_MAC, PEER6, SECOND, SILENCE, pair, policy},
};

/// Nothing is allowed in any direction.
const NOTHING: &str = "ingress:\n- {}\negress:\n- {}\n";

fn firewall<'host>(node: &'host Host, rule_lists: &str) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.policy("test.yaml", &policy("test", rule_lists));
    firewall.start();
    firewall
}

/// A rule for one protocol in both directions.
fn both_ways(entry: &str) -> String {
    let rule = format!("- toPorts: [{{ports: [{entry}]}}]\n");
    format!("ingress:\n{rule}egress:\n{rule}")
}

/// Name, number, and whether IPv6 carries it as something to be judged: there
/// AH is an extension header, and what stands behind it is judged.
const PROTOCOLS: [(&str, u8, bool); 9] = [
    ("IGMP", 2, false),
    ("IPIP", 4, true),
    ("IPV6", 41, true),
    ("GRE", 47, true),
    ("ESP", 50, true),
    ("AH", 51, false),
    ("OSPF", 89, true),
    ("VRRP", 112, true),
    ("SCTP", 132, true),
];

/// One end of the cable, for raw packets of both families.
struct End {
    mac: Mac,
    v4: LinkSocket,
    v6: LinkSocket,
}

impl End {
    fn open(host: &Host, mac: Mac) -> Self {
        let open = |kind: u16| LinkSocket::open(host, "eth0", kind);
        Self { mac, v4: open(LinkSocket::IPV4), v6: open(LinkSocket::IPV6) }
    }

    /// Sends a packet of each protocol; gives back those that arrive.
    fn reaches(&self, other: &Self, own: IpAddr, theirs: IpAddr) -> Vec<u8> {
        let (kind, from, to) = if own.is_ipv4() {
            (LinkSocket::IPV4, &self.v4, &other.v4)
        } else {
            (LinkSocket::IPV6, &self.v6, &other.v6)
        };
        let sent = PROTOCOLS.iter().filter(|(_, _, in_v6)| own.is_ipv4() || *in_v6);
        for (_, number, _) in sent {
            // Ports 5000 for SCTP; for the others anything is as good.
            let body = [&[0x13, 0x88, 0x13, 0x88][..], &[*number; 12]].concat();
            let packet = packet::ip(own, theirs, *number, &body);
            // A denied packet may be told to its sender; arrival is what counts.
            drop(from.try_send(&ethernet(other.mac, self.mac, kind, &packet)));
        }
        let place = if own.is_ipv4() { 14 + 9 } else { 14 + 6 };
        let mut arrived = Vec::new();
        to.count(200 * MS, |frame| {
            let number = frame.get(place).copied().unwrap_or(0);
            let wanted = frame.ends_with(&[number; 12]);
            arrived.extend(wanted.then_some(number));
            wanted
        });
        arrived.sort_unstable();
        arrived
    }
}

/// T12.
#[test]
fn protocols_without_ports_pass_by_their_rule_and_not_without() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let firewall = firewall(&node, NOTHING);
    let (inside, outside) = (End::open(&node, NODE_MAC), End::open(&peer, PEER_MAC));
    let (node6, peer6) = (IpAddr::V6(NODE6), IpAddr::V6(PEER6));
    let arriving = || {
        [
            outside.reaches(&inside, PEER, NODE),
            outside.reaches(&inside, peer6, node6),
            inside.reaches(&outside, NODE, PEER),
            inside.reaches(&outside, node6, peer6),
        ]
    };
    let nothing: [Vec<u8>; 4] = Default::default();
    assert_eq!(arriving(), nothing, "without a rule");
    let apply = |lists: &str| {
        firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", lists)));
    };
    let entry = |name: &str| match name {
        "SCTP" => "{port: \"5000\", protocol: SCTP}".to_owned(),
        _ => format!("{{protocol: {name}}}"),
    };
    let all: Vec<String> = PROTOCOLS.iter().map(|(name, ..)| entry(name)).collect();
    apply(&both_ways(&all.join(", ")));
    let v4: Vec<u8> = PROTOCOLS.iter().map(|(_, number, _)| *number).collect();
    let v6: Vec<u8> =
        PROTOCOLS.iter().filter(|(.., in_v6)| *in_v6).map(|(_, number, _)| *number).collect();
    assert_eq!(arriving(), [v4.clone(), v6.clone(), v4, v6], "with a rule for each");
    // A rule is about its own protocol.
    for name in ["VRRP", "ESP", "SCTP"] {
        apply(&both_ways(&entry(name)));
        let number = PROTOCOLS.iter().find(|protocol| protocol.0 == name).expect("listed").1;
        assert_eq!(arriving(), std::array::from_fn(|_| vec![number]), "{name} alone");
    }
}

const MDNS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// T13: as in the reference, what comes in for a group is not judged and what
/// leaves for one is. Listener reports of IPv6 always leave; those of IPv4 are a
/// protocol like any other.
#[test]
fn multicast_and_broadcast_come_in_unjudged_and_leave_by_rule() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    for host in [&node, &peer] {
        host.ip("route add default dev eth0\n");
    }
    let firewall = firewall(&node, NOTHING);
    let wire =
        [LinkSocket::IPV4, LinkSocket::IPV6].map(|kind| LinkSocket::open(&peer, "eth0", kind));
    let socket = |host: &Host, at: &str| {
        let socket = host.inside(|| UdpSocket::bind(at)).expect("a free port");
        socket.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
        socket.set_broadcast(true).expect("an open socket");
        socket
    };
    let (v4, v6) = (socket(&node, "0.0.0.0:5353"), socket(&node, "[::]:5354"));
    let IpAddr::V4(own) = NODE else { unreachable!("an IPv4 address") };
    v4.join_multicast_v4(&MDNS, &own).expect("a group to join");
    let index = node.ifindex("eth0");
    v6.join_multicast_v6(&MDNS6, index).expect("a group to join");
    // Protocol 2 at offset 23; ICMPv6 type 143 behind a router alert.
    let igmp = |frame: &[u8]| frame.get(23) == Some(&2);
    let report = |frame: &[u8]| frame.get(20) == Some(&0) && frame.get(62) == Some(&143);
    assert!(wire[1].sees(SECOND, report), "a listener report needs no rule");
    assert!(!wire[0].sees(100 * MS, igmp), "an IGMP report needs one");

    // In: groups and the limited broadcast, to sockets that listen.
    let (from4, from6) = (socket(&peer, "192.0.2.2:0"), socket(&peer, "[2001:db8::2]:0"));
    let received = |socket: &UdpSocket, text: &[u8]| {
        let mut buffer = [0; 64];
        socket.recv(&mut buffer).is_ok_and(|n| &buffer[..n] == text)
    };
    from4.send_to(b"group", (MDNS, 5353)).expect("sent");
    assert!(received(&v4, b"group"));
    let to6 = SocketAddrV6::new(MDNS6, 5354, 0, peer.ifindex("eth0"));
    from6.send_to(b"group", to6).expect("sent");
    assert!(received(&v6, b"group"));
    let raw = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let everybody = |destination: [u8; 4], text: &[u8]| {
        let packet = packet::udp((PEER, 5000), (destination.into(), 5353), text);
        raw.send(&ethernet([0xff; 6], PEER_MAC, LinkSocket::IPV4, &packet));
    };
    everybody([255; 4], b"limited");
    assert!(received(&v4, b"limited"));
    assert_eq!(firewall.ingress_packets("group"), 3);
    // The subnet's own broadcast address is judged like an address of the host.
    everybody([192, 0, 2, 255], b"subnet");
    assert!(!received(&v4, b"subnet"));

    // Out: nothing without a rule, each group by its own.
    let leaves = |text: &[u8], to: IpAddr| {
        let wire = &wire[usize::from(to.is_ipv6())];
        match to {
            IpAddr::V4(_) => v4.send_to(text, (to, 5353)).map(drop),
            IpAddr::V6(to) => v6.send_to(text, SocketAddrV6::new(to, 5353, 0, index)).map(drop),
        }
        // A denied packet may be told to its sender; that is no arrival.
        .ok();
        wire.sees(200 * MS, |frame| contains(frame, text))
    };
    let groups: [IpAddr; 3] = [MDNS.into(), MDNS6.into(), Ipv4Addr::BROADCAST.into()];
    for to in groups {
        assert!(!leaves(b"out without a rule", to), "{to}");
    }
    firewall.apply(|firewall| {
        let rules = "ingress:\n- {}\negress:\n\
                     - toCIDR: [224.0.0.251/32, \"ff02::fb/128\", 255.255.255.255/32]\n  \
                     toPorts: [{ports: [{port: \"5353\", protocol: UDP}]}]\n\
                     - toPorts: [{ports: [{protocol: IGMP}]}]\n";
        firewall.policy("test.yaml", &policy("test", rules));
    });
    for to in groups {
        assert!(leaves(b"out by a rule", to), "{to}");
    }
    assert!(!leaves(b"another group", Ipv4Addr::new(224, 0, 0, 252).into()));
    v4.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 252), &own).expect("a group to join");
    assert!(wire[0].sees(SECOND, igmp), "IGMP by its rule");
}
