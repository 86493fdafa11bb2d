//! Egress in force: where a host may go by entity, to its own pods, and that
//! whoever was let in is answered.

use std::net::SocketAddr;

use hostfw_scenario::{
    Echo, Firewall, Host, Lab, Reach, lab, ping, reaches,
    scene::{NODE, SECOND, SILENCE, node_object, node_port, open_port, pair, peer_port, policy},
    tcp, udp, wait_until,
};

/// A node, another node of its cluster, somebody outside behind it, and a pod
/// of the node on a bridge.
struct Cluster {
    node: Host,
    other: Host,
    _pod: Host,
    _echoes: Vec<Echo>,
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

const WORLD: &str = "198.51.100.7:7";
const POD: &str = "10.244.0.5:8080";

impl Cluster {
    fn new(lab: &Lab) -> Self {
        let (node, other) = pair(lab);
        other.ip("addr add 198.51.100.7/32 dev lo\n");
        node.ip("route add 198.51.100.0/24 via 192.0.2.2\n");
        let pod = lab.host("pod");
        lab.cable((&node, "pod0", "02:00:00:00:02:01"), (&pod, "eth0", "02:00:00:00:02:02"));
        node.ip("link add cni0 type bridge\nlink set cni0 up\naddr add 10.244.0.1/24 dev cni0\n\
             link set pod0 master cni0 up\n");
        pod.ip("link set eth0 up\naddr add 10.244.0.5/24 dev eth0\n");
        let echoes = vec![
            Echo::start(&node, node_port(7)),
            Echo::start(&other, peer_port(7)),
            Echo::start(&other, at(WORLD)),
            Echo::start(&pod, at(POD)),
        ];
        Self { node, other, _pod: pod, _echoes: echoes }
    }

    fn firewall(&self, lists: &str) -> Firewall<'_> {
        let mut firewall = Firewall::new(&self.node);
        firewall.policy("test.yaml", &policy("test", lists));
        let world = [
            node_object("node", &["192.0.2.1", "10.244.0.1"]),
            node_object("other", &["192.0.2.2"]),
            "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, labels: {app: web}}\n\
             spec: {nodeName: node}\nstatus: {phase: Running, podIPs: [{ip: 10.244.0.5}]}\n"
                .to_owned(),
        ];
        firewall.world("world.yaml", &world.join("---\n"));
        firewall.start();
        firewall
    }

    /// Whether the node reaches itself, the other node, the world, its pod.
    fn reached(&self) -> [bool; 4] {
        [node_port(7), peer_port(7), at(WORLD), at(POD)]
            .map(|to| reaches(&self.node, to, SILENCE) == Reach::Open)
    }
}

#[test]
fn a_host_reaches_the_entities_that_its_egress_names_and_no_other() {
    let lab = lab!();
    let cluster = Cluster::new(&lab);
    wait_until("everybody is reached without a firewall", 5 * SECOND, || {
        cluster.reached() == [true; 4]
    });
    let firewall = cluster.firewall("egress:\n- {}\n");
    // To itself a host speaks over loopback, which is never judged.
    assert_eq!(cluster.reached(), [true, false, false, false], "nothing is named");
    for (entities, expected) in [
        ("host", [true, false, false, false]),
        ("remote-node", [true, true, false, false]),
        ("world", [true, false, true, false]),
        ("cluster", [true, true, false, true]),
        ("host, remote-node, world", [true, true, true, false]),
        ("all", [true; 4]),
    ] {
        let lists = format!("egress:\n- toEntities: [{entities}]\n");
        firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", &lists)));
        assert_eq!(cluster.reached(), expected, "toEntities: [{entities}]");
        assert_eq!(reaches(&cluster.other, node_port(7), SECOND), Reach::Open, "ingress is open");
    }
}

/// A6.9: what the kubelet asks its pods.
#[test]
fn a_probe_of_a_local_pod_needs_egress_to_that_pod_and_nothing_else() {
    let lab = lab!();
    let cluster = Cluster::new(&lab);
    let firewall = cluster.firewall(
        "ingress:\n- {}\negress:\n- toEndpoints:\n  - matchLabels: {app: web}\n  \
         toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]\n",
    );
    for _ in 0..3 {
        use std::io::{Read, Write};
        let mut probe = tcp(&cluster.node, at(POD), SECOND);
        probe.write_all(b"alive?").expect("sent");
        probe.read_exact(&mut [0; 6]).expect("the pod answers, although ingress is closed");
    }
    assert_eq!(reaches(&cluster.node, at("10.244.0.5:8081"), SILENCE), Reach::Silent);
    assert_eq!(cluster.reached(), [true, false, false, true]);
    let lists = "egress:\n- toEndpoints:\n  - matchLabels: {app: other}\n";
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", lists)));
    assert!(!cluster.reached()[3], "a rule about other pods");
}

/// T4, for datagrams and echoes as well, and where ingress is not in force.
#[test]
fn whoever_comes_in_is_answered_although_egress_denies_everything() {
    let lab = lab!();
    let cluster = Cluster::new(&lab);
    let Cluster { node, other, .. } = &cluster;
    let admits = format!(
        "ingress:\n{}- icmps: [{{fields: [{{type: EchoRequest, family: IPv4}}]}}]\n",
        "- toPorts: [{ports: [{port: \"7\", protocol: ANY}]}]\n"
    );
    let firewall = cluster.firewall(&format!("{admits}egress:\n- {{}}\n"));
    let is_answered = |when: &str| {
        assert_eq!(reaches(other, node_port(7), SECOND), Reach::Open, "TCP, {when}");
        let asker = udp(other, node_port(7), SECOND);
        for _ in 0..3 {
            asker.send(b"hello").expect("sent");
            assert_eq!(asker.recv(&mut [0; 8]).expect("a datagram comes back"), 5, "{when}");
        }
        assert!(ping(other, NODE, SECOND), "an echo, {when}");
        assert_eq!(reaches(node, peer_port(7), SILENCE), Reach::Silent, "its own way out, {when}");
        let own = udp(node, peer_port(7), SILENCE);
        // The kernel may say at once that it was dropped.
        drop(own.send(b"hello"));
        assert!(own.recv(&mut [0; 8]).is_err(), "its own datagrams, {when}");
    };
    is_answered("both directions in force");
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", "egress:\n- {}\n")));
    is_answered("egress alone in force");
    let lists = format!("ingress:\n{}egress:\n- {{}}\n", open_port(9, "TCP"));
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", &lists)));
    assert_eq!(reaches(other, node_port(7), SILENCE), Reach::Silent, "no longer let in");
}
