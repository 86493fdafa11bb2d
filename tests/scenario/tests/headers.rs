//! Packets whose ports are hard to find: fragments in any order, IPv4 options,
//! chains of IPv6 extension headers.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use hostfw_scenario::{
    Firewall, Host, LinkSocket, lab,
    packet::{self, ethernet, fragments, with_extensions, with_options},
    scene::{
        MS, NODE, NODE_MAC, NODE6, PEER, PEER_MAC, PEER6, SECOND, SILENCE, node_port, node_port6,
        open_port, pair, policy,
    },
};

/// The port that the policy of these tests opens, and one that it does not.
const OPEN: u16 = 7;
const CLOSED: u16 = 8;

/// Both ends of a packet from the peer, for each family.
const FAMILIES: [(IpAddr, IpAddr, u16); 2] =
    [(PEER, NODE, LinkSocket::IPV4), (IpAddr::V6(PEER6), IpAddr::V6(NODE6), LinkSocket::IPV6)];

/// A node that lets UDP to [`OPEN`] in, and receives on both ports.
struct Receiver<'host> {
    firewall: Firewall<'host>,
    sockets: Vec<UdpSocket>,
}

impl<'host> Receiver<'host> {
    fn start(node: &'host Host) -> Self {
        let mut firewall = Firewall::new(node);
        let lists = format!("ingress:\n{}", open_port(OPEN, "UDP"));
        firewall.policy("test.yaml", &policy("test", &lists));
        firewall.start();
        let places =
            [OPEN, CLOSED].into_iter().flat_map(|port| [node_port(port), node_port6(port)]);
        let bind = |at: SocketAddr| node.inside(|| UdpSocket::bind(at)).expect("a free port");
        Self { firewall, sockets: places.map(bind).collect() }
    }

    /// The datagram that arrived at a port, if one did.
    fn received(&self, at: SocketAddr) -> Option<Vec<u8>> {
        let own = |socket: &&UdpSocket| socket.local_addr().is_ok_and(|address| address == at);
        let socket = self.sockets.iter().find(own).expect("one of the ports");
        let limit = if at.port() == OPEN { SECOND } else { 100 * MS };
        socket.set_read_timeout(Some(limit)).expect("a limit above zero");
        let mut buffer = [0; 4096];
        socket.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec())
    }
}

fn send(from: &LinkSocket, kind: u16, packet: &[u8]) {
    from.send(&ethernet(NODE_MAC, PEER_MAC, kind, packet));
}

/// Orders in which four fragments arrive.
const ORDERS: [[usize; 4]; 4] = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];

/// T10.
#[test]
fn fragments_of_an_allowed_datagram_arrive_in_any_order_and_of_no_other() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let receiver = Receiver::start(&node);
    let payload: Vec<u8> = (0..1200_u16).map(|number| number as u8).collect();
    let mut identification = 0;
    for (source, destination, kind) in FAMILIES {
        let from = LinkSocket::open(&peer, "eth0", kind);
        for order in ORDERS {
            for port in [OPEN, CLOSED] {
                identification += 1;
                let whole = packet::udp((source, 5000), (destination, port), &payload);
                let pieces = fragments(&whole, 304, identification);
                assert_eq!(pieces.len(), 4);
                for index in order {
                    send(&from, kind, &pieces[index]);
                }
                let received = receiver.received((destination, port).into());
                let expected = (port == OPEN).then_some(payload.as_slice());
                assert_eq!(received.as_deref(), expected, "port {port}, order {order:?}");
            }
        }
    }
    // Two families, four orders: each first fragment was judged, and only it.
    assert_eq!(receiver.firewall.ingress_packets("default-deny"), 8);
    assert_eq!(receiver.firewall.ingress_packets("rule"), 8);
    assert_eq!(receiver.firewall.ingress_packets("fragment"), 2 * 8 * 3);
}

/// T10: there is no table of fragments, so nothing of ours fills. The kernel's
/// own memory for incomplete datagrams is bounded by the kernel.
#[test]
fn a_flood_of_fragments_fills_nothing() {
    const FLOOD: u16 = 20_000;
    let lab = lab!();
    let (node, peer) = pair(&lab);
    // The kernel gives up on an incomplete datagram after a second here.
    node.sysctl("net/ipv4/ipfrag_time", "1");
    node.sysctl("net/ipv6/ip6frag_time", "1");
    let receiver = Receiver::start(&node);
    let payload = [7; 64];
    for (source, destination, kind) in FAMILIES {
        let from = LinkSocket::open(&peer, "eth0", kind);
        let datagram = packet::udp((source, 5000), (destination, OPEN), &payload);
        for identification in 0..FLOOD {
            // A first fragment, or a later one, and never the rest of it.
            let pieces = fragments(&datagram, 40, identification);
            let frame = &pieces[usize::from(identification % 2)];
            if from.try_send(&ethernet(NODE_MAC, PEER_MAC, kind, frame)).is_err() {
                // The device's queue is full for a moment.
                std::thread::sleep(MS);
            }
        }
        send(&from, kind, &datagram);
        let at = (destination, OPEN).into();
        assert_eq!(receiver.received(at).as_deref(), Some(&payload[..]), "a whole datagram");
        let connections: hostfw_api::ConnectionsReport =
            receiver.firewall.ask("GET", hostfw_api::CONNECTIONS_PATH, "").expect("an answer");
        assert_eq!(connections.connections, [], "no entry for any of them");
        std::thread::sleep(1200 * MS);
        for piece in fragments(&datagram, 40, 1).iter().rev() {
            send(&from, kind, piece);
        }
        let received = receiver.received(at);
        assert_eq!(received.as_deref(), Some(&payload[..]), "a fragmented one, after the flood");
    }
    let later = receiver.firewall.ingress_packets("fragment");
    assert!(later > u64::from(FLOOD) / 2, "{later} fragments are no flood");
}

/// A hop-by-hop or destination options header: eight bytes of padding.
fn padding(number: u8) -> (u8, Vec<u8>) {
    (number, vec![0, 1, 4, 0, 0, 0, 0])
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// T11.
#[test]
fn ports_behind_five_extension_headers_are_judged_and_routing_type_0_never_passes() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let receiver = Receiver::start(&node);
    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV6);
    let seen = LinkSocket::open(&node, "eth0", LinkSocket::IPV6);
    let sends = |port: u16, extensions: &[(u8, Vec<u8>)]| {
        let plain = packet::udp((PEER6.into(), 5000), (NODE6.into(), port), b"behind headers");
        send(&from, LinkSocket::IPV6, &with_extensions(&plain, extensions));
    };
    let chain = |n: usize| {
        let mut chain = vec![padding(HOP_BY_HOP)];
        chain.resize(n, padding(DESTINATION));
        chain
    };
    let received = |port: u16| receiver.received(node_port6(port)).is_some();
    sends(OPEN, &chain(5));
    assert!(received(OPEN), "five headers before an allowed port");
    sends(CLOSED, &chain(5));
    assert!(!received(CLOSED), "five headers before a denied one");
    sends(OPEN, &chain(8));
    assert!(received(OPEN), "eight headers");

    // What must not pass is looked for behind the firewall: this kernel would
    // not deliver all of it either.
    let passes = |extensions: &[(u8, Vec<u8>)]| {
        sends(OPEN, extensions);
        seen.sees(100 * MS, |frame| frame.ends_with(b"behind headers") && frame[20] != 17)
    };
    assert!(passes(&chain(1)), "the same look sees what passes");
    while seen.sees(MS, |_| true) {}
    assert!(!passes(&chain(9)), "more headers than are followed");
    let mut bounce = vec![2, 0, 1, 0, 0, 0, 0];
    bounce.extend(PEER6.octets());
    assert!(!passes(&[(ROUTING, bounce.clone())]), "a type 0 routing header");
    assert!(!passes(&[padding(DESTINATION), (ROUTING, bounce)]), "one behind another header");
    assert!(!passes(&[padding(NO_NEXT)]), "no next header");
    let firewall = &receiver.firewall;
    assert_eq!(firewall.ingress_packets("routing-header"), 2);
    assert_eq!(firewall.ingress_packets("extension-headers"), 2);
}

/// Options of the IPv4 header: router alert, record route, source routes.
#[test]
fn ipv4_options_are_read_over_and_source_routes_never_pass() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let receiver = Receiver::start(&node);
    let from = LinkSocket::open(&peer, "eth0", LinkSocket::IPV4);
    let seen = LinkSocket::open(&node, "eth0", LinkSocket::IPV4);
    let sends = |port: u16, options: &[u8]| {
        let plain = packet::udp((PEER, 5000), (NODE, port), b"behind options");
        send(&from, LinkSocket::IPV4, &with_options(&plain, options));
    };
    let alert = [148, 4, 0, 0];
    let longest = [1; 40];
    for options in [&alert[..], &longest] {
        sends(OPEN, options);
        assert!(receiver.received(node_port(OPEN)).is_some(), "an allowed port behind {options:?}");
        sends(CLOSED, options);
        assert!(receiver.received(node_port(CLOSED)).is_none(), "a denied one");
    }
    while seen.sees(MS, |_| true) {}
    // The route goes on to an address that the node is not.
    let route = |kind: u8| vec![kind, 7, 4, 198, 51, 100, 1];
    let behind = [&[1, 1, 1][..], &alert, &route(131)].concat();
    for options in [route(131), route(137), behind] {
        sends(OPEN, &options);
        let passed = seen.sees(SILENCE / 2, |frame| frame.ends_with(b"behind options"));
        assert!(!passed, "a route of the sender's choice: {options:?}");
    }
    assert_eq!(receiver.firewall.ingress_packets("source-route"), 3);
}
