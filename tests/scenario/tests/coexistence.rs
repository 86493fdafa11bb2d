//! hostfw beside others who have a word about the same packets: nftables,
//! ports that a container runtime publishes, and programs of others on the
//! same hooks of the same device.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
};

use hostfw_scenario::{
    Echo, Firewall, ForeignProgram, Host, Lab, Place, Reach, lab, reaches,
    scene::{SECOND, SILENCE, node_port, open_port, pair, peer_port, policy},
    udp, wait_until,
};

/// Packets that the rule of a direction about one TCP port has decided.
fn decided(firewall: &Firewall, way: hostfw_api::Direction, port: u16) -> u64 {
    let rules = firewall.rules().rules.into_iter();
    let about = format!("TCP {port}");
    let found = rules.filter(|rule| rule.direction == way && rule.summary.ends_with(&about));
    found.map(|rule| rule.packets).sum()
}

#[test]
fn a_packet_passes_where_hostfw_and_nftables_both_let_it() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _in = [7, 8, 9, 13].map(|port| Echo::start(&node, node_port(port)));
    let _out = [10, 11, 12].map(|port| Echo::start(&peer, peer_port(port)));
    node.nft(
        "table inet beside {\n\
         counter seen_7 {}\ncounter seen_8 {}\ncounter seen_9 {}\n\
         counter left_10 {}\ncounter left_11 {}\ncounter left_12 {}\n\
         chain before { type filter hook prerouting priority -300;\n\
         iifname eth0 tcp dport 7 counter name seen_7\n\
         iifname eth0 tcp dport 8 counter name seen_8\n\
         iifname eth0 tcp dport 9 counter name seen_9\n}\n\
         chain in { type filter hook input priority 0;\n\
         tcp dport { 7, 9 } accept\ntcp dport 8 drop\n\
         tcp dport 13 reject with tcp reset\n}\n\
         chain out { type filter hook output priority 0;\n\
         tcp dport { 10, 12 } accept\ntcp dport 11 drop\n}\n\
         chain behind { type filter hook postrouting priority 300;\n\
         oifname eth0 tcp dport 10 counter name left_10\n\
         oifname eth0 tcp dport 11 counter name left_11\n\
         oifname eth0 tcp dport 12 counter name left_12\n}\n}\n",
    );
    let mut firewall = Firewall::new(&node);
    let open = |ports: &[u16]| ports.iter().map(|port| open_port(*port, "TCP")).collect::<String>();
    let lists = format!("ingress:\n{}egress:\n{}", open(&[7, 8, 13]), open(&[10, 11]));
    firewall.policy("test.yaml", &policy("test", &lists));
    firewall.start();

    assert_eq!(reaches(&peer, node_port(7), SECOND), Reach::Open, "both let it");
    assert_eq!(reaches(&peer, node_port(8), SILENCE), Reach::Silent, "nftables does not");
    assert_eq!(reaches(&peer, node_port(9), SILENCE), Reach::Silent, "hostfw does not");
    let refused = reaches(&peer, node_port(13), SECOND);
    assert_eq!(refused, Reach::Refused, "what nftables answers leaves as an answer");
    assert_eq!(reaches(&node, peer_port(10), SECOND), Reach::Open, "both let it");
    assert_ne!(reaches(&node, peer_port(11), SILENCE), Reach::Open, "nftables does not");
    assert_eq!(reaches(&node, peer_port(12), SILENCE), Reach::Silent, "hostfw does not");

    // hostfw is first on the way in: nftables never saw what it dropped.
    let way = hostfw_api::Direction::Ingress;
    assert!(decided(&firewall, way, 7) > 0 && node.nft_packets("seen_7") > 0);
    assert!(decided(&firewall, way, 8) > 0 && node.nft_packets("seen_8") > 0);
    assert_eq!(node.nft_packets("seen_9"), 0);
    assert!(firewall.ingress_packets("default-deny") > 0);
    // And last on the way out: it never saw what nftables dropped.
    let way = hostfw_api::Direction::Egress;
    assert!(decided(&firewall, way, 10) > 0 && node.nft_packets("left_10") > 0);
    assert_eq!((decided(&firewall, way, 11), node.nft_packets("left_11")), (0, 0));
    assert!(firewall.egress_packets("default-deny") > 0 && node.nft_packets("left_12") > 0);
}

/// A bridge with one container, its port 80 published as 8080, in the form that
/// a container runtime writes its rules.
fn container(lab: &Lab, node: &Host) -> Host {
    let container = lab.host("container");
    lab.cable((node, "veth1", "02:00:00:00:01:01"), (&container, "eth0", "02:00:00:00:01:02"));
    node.ip("link add docker0 type bridge\nlink set veth1 master docker0\n\
         addr add 172.17.0.1/16 dev docker0\nlink set docker0 up\nlink set veth1 up\n");
    container.ip("link set eth0 up\naddr add 172.17.0.2/16 dev eth0\n\
         route add default via 172.17.0.1\n");
    node.sysctl("net/ipv4/ip_forward", "1");
    node.nft(
        "table ip nat {\n\
         chain before { type nat hook prerouting priority -100;\n\
         ip daddr 192.0.2.1 iifname != docker0 tcp dport 8080 dnat to 172.17.0.2:80\n}\n\
         chain behind { type nat hook postrouting priority 100;\n\
         ip saddr 172.17.0.0/16 oifname != docker0 masquerade\n}\n}\n",
    );
    container
}

fn at(address: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(address), port)
}

#[test]
fn a_published_port_needs_a_rule_for_the_port_of_the_node_and_nothing_else() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let container = container(&lab, &node);
    let (inside, bridge) = ([172, 17, 0, 2], [172, 17, 0, 1]);
    let _web = Echo::start(&container, at(inside, 80));
    let _own = Echo::start(&node, at(bridge, 7));
    let _far = Echo::start(&peer, peer_port(7));
    let mut firewall = Firewall::new(&node);
    firewall.start();
    // Without a policy, hostfw changes nothing.
    assert_eq!(reaches(&peer, node_port(8080), SECOND), Reach::Open);
    assert_eq!(reaches(&container, peer_port(7), SECOND), Reach::Open);
    assert_eq!(reaches(&container, at(bridge, 7), SECOND), Reach::Open);

    let lists = |port| format!("ingress:\n{}egress:\n- {{}}\n", open_port(port, "TCP"));
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", &lists(8080))));
    assert_eq!(reaches(&peer, node_port(8080), SECOND), Reach::Open, "by the port of the node");
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", &lists(80))));
    assert_eq!(reaches(&peer, node_port(8080), SILENCE), Reach::Silent, "not by the container's");

    // What the container opens is forwarded; the node's own services are not
    // open to it, and it is not open to the node.
    assert_eq!(reaches(&container, peer_port(7), SECOND), Reach::Open, "to the outside");
    assert_eq!(reaches(&container, at(bridge, 7), SILENCE), Reach::Silent, "to the node");
    assert_eq!(reaches(&node, at(inside, 80), SILENCE), Reach::Silent, "from the node");
    let devices = firewall.status().devices;
    assert!(devices.iter().any(|link| link.device == "docker0"), "{devices:#?}");
}

/// Bytes of the headers of a datagram in a frame.
const HEADERS: u32 = 14 + 20 + 8;

/// A peer that sends datagrams of different lengths, and who waits for them on
/// an allowed and on a denied port of the node.
struct Post {
    sender: [UdpSocket; 2],
    receiver: [UdpSocket; 2],
}

const ALLOWED: usize = 0;
const DENIED: usize = 1;

impl Post {
    fn new(node: &Host, peer: &Host) -> Self {
        let ports = [node_port(9000), node_port(9001)];
        let receiver = ports.map(|at| {
            let socket = node.inside(|| UdpSocket::bind(at)).expect("a free port");
            socket.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
            socket
        });
        Self { sender: ports.map(|at| udp(peer, at, SECOND)), receiver }
    }

    /// True when a datagram of this length arrives.
    fn arrives(&self, port: usize, bytes: u32) -> bool {
        let text = vec![0; bytes as usize];
        self.sender[port].send(&text).expect("sent");
        self.receiver[port].recv(&mut [0; 2000]).is_ok()
    }
}

fn started<'host>(node: &'host Host, attach: &str) -> Firewall<'host> {
    let mut firewall = Firewall::new(node);
    firewall.configure(&format!("devices: {{attach: {attach}}}\n"));
    firewall.policy("test.yaml", &policy("test", &format!("ingress:\n{}", open_port(9000, "UDP"))));
    firewall.start();
    firewall
}

/// What the kernel says about the hook of arriving packets.
fn is_first(firewall: &Firewall) -> bool {
    firewall.status().devices[0].ingress.as_ref().is_some_and(|hook| hook.first)
}

#[test]
fn programs_of_others_in_the_chain_go_on_before_and_behind_hostfw() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let post = Post::new(&node, &peer);
    // One who was there first is behind hostfw, which goes to the front.
    let _behind: OwnedFd = ForeignProgram::drops(HEADERS + 100).chain(&node, "eth0", Place::First);
    assert!(!post.arrives(ALLOWED, 100) && post.arrives(DENIED, 101));
    let mut firewall = started(&node, "auto");
    assert!(is_first(&firewall));
    assert!(post.arrives(ALLOWED, 101), "both let it");
    assert!(!post.arrives(ALLOWED, 100), "the one behind drops what hostfw lets pass");
    assert!(!post.arrives(DENIED, 101), "hostfw drops");

    // One that goes to the front later is asked before: what it drops hostfw
    // does not see, and what it lets pass for good hostfw does not see either.
    let drops = ForeignProgram::drops(HEADERS + 200).chain(&node, "eth0", Place::First);
    let before = firewall.ingress_packets("rule");
    assert!(!post.arrives(ALLOWED, 200));
    assert_eq!(firewall.ingress_packets("rule"), before);
    let passes = ForeignProgram::passes(HEADERS + 300).chain(&node, "eth0", Place::First);
    assert!(post.arrives(DENIED, 300), "nobody behind is asked");
    assert!(!post.arrives(DENIED, 301), "hostfw is asked about all others");
    assert!(!is_first(&firewall), "and it is told");
    let links = firewall.hostfw(&["links"]);
    assert!(links.output.contains("behind"), "{}", links.output);
    drop(passes);

    // What others have attached outlives hostfw.
    firewall.stop();
    firewall.cleanup();
    // The kernel takes a link away a little later than it is told.
    wait_until("hostfw is gone", SECOND, || post.arrives(DENIED, 101));
    assert!(!post.arrives(DENIED, 100) && !post.arrives(DENIED, 200), "the others are not");
    drop(drops);
    wait_until("this one is gone too", SECOND, || post.arrives(DENIED, 200));
}

#[test]
fn filters_of_others_go_on_behind_hostfw_however_it_is_attached() {
    for attach in ["auto", "clsact"] {
        let lab = lab!();
        let (node, peer) = pair(&lab);
        let post = Post::new(&node, &peer);
        let tc = node.command("tc").args(["qdisc", "add", "dev", "eth0", "clsact"]).status();
        assert!(tc.expect("iproute2 is installed").success());
        ForeignProgram::drops(HEADERS + 100).filter(&node, "eth0", "10");
        ForeignProgram::passes(HEADERS + 300).filter(&node, "eth0", "20");
        let mut firewall = started(&node, attach);
        assert!(post.arrives(ALLOWED, 101), "{attach}: all let it");
        assert!(!post.arrives(ALLOWED, 100), "{attach}: the one behind drops");
        assert!(!post.arrives(DENIED, 101), "{attach}: hostfw drops");
        assert!(!post.arrives(DENIED, 300), "{attach}: who is behind cannot let it pass");
        assert!(is_first(&firewall), "{attach}: and it is told");
        if attach == "clsact" {
            // Of one priority, the kernel asks the newest first.
            ForeignProgram::passes(HEADERS + 400).filter(&node, "eth0", "1");
            assert!(post.arrives(DENIED, 400), "nobody behind is asked");
            assert!(!is_first(&firewall), "and it is told");
        }
        firewall.stop();
        firewall.cleanup();
        wait_until("hostfw is gone", SECOND, || post.arrives(DENIED, 101));
        assert!(!post.arrives(DENIED, 100), "{attach}: the others are not");
    }
}

/// The end of a pod as Calico makes it: a pair device without an address, with
/// a route to the pod behind it.
#[test]
fn a_pod_behind_a_pair_device_without_an_address_is_judged_where_the_device_is_named() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let pod = lab.host("pod");
    lab.cable((&node, "cali1", "02:00:00:00:01:01"), (&pod, "eth0", "02:00:00:00:01:02"));
    node.ip("link set cali1 up\nroute add 10.65.0.2/32 dev cali1\n");
    node.sysctl("net/ipv4/ip_forward", "1");
    pod.ip("link set eth0 up\naddr add 10.65.0.2/32 dev eth0\n\
         route add 169.254.1.1 dev eth0 scope link\n\
         neigh add 169.254.1.1 lladdr 02:00:00:00:01:01 dev eth0 nud permanent\n\
         route add default via 169.254.1.1\n");
    peer.ip("route add 10.65.0.2/32 via 192.0.2.1\n");
    let _own = Echo::start(&node, node_port(7));
    let _far = Echo::start(&peer, peer_port(7));
    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy("test", "ingress:\n- {}\n"));
    firewall.start();
    assert_eq!(reaches(&pod, node_port(7), SECOND), Reach::Open, "nobody looks at cali1");
    let unfiltered = firewall.status().unfiltered;
    assert!(unfiltered.iter().any(|link| link.name == "cali1"), "{unfiltered:#?}");

    firewall.configure("devices: {include: [\"cali*\"]}\n");
    firewall.reload();
    firewall.await_status("cali1 is filtered", |status| {
        status.devices.iter().any(|link| link.device == "cali1" && link.ingress.is_some())
    });
    assert_eq!(reaches(&pod, node_port(7), SILENCE), Reach::Silent, "the node is closed to it");
    assert_eq!(reaches(&pod, peer_port(7), SECOND), Reach::Open, "the way to others is not");
}
