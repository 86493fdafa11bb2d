//! Policy comes into force on a host that is already busy: whatever the host, or
//! a container behind it, has asked for is answered, and nobody else gains by
//! it. Rows 1 to 6 of what the field complains about.
#![allow(clippy::print_stderr, reason = "what the kernel lacks, and the counts, are worth telling")]

use std::{
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use hostfw_api::Mode;
use hostfw_scenario::{
    Echo, Firewall, Host, Lab, Reach, binary, lab, reaches,
    scene::{
        MS, SECOND, SILENCE, node_port, open_port, pair, peer_port, policy, policy_for_nobody,
        wait_until_up,
    },
    tcp, udp,
};

const NOTHING: &str = "ingress:\n- {}\n";

/// Questions that the host asks all the time, each from a new port.
struct Questions {
    stop: Arc<AtomicBool>,
    /// Policy is in force.
    in_force: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    /// Of them, from sockets that are not connected, before it was in force.
    older: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

type Ask = fn() -> std::io::Result<()>;

/// From a socket that is not connected.
const TO_ANYONE: &str = "UDP to anyone";

impl Questions {
    fn start(from: &Host) -> Self {
        let [stop, in_force]: [Arc<AtomicBool>; 2] = Default::default();
        let [asked, lost, older]: [Arc<AtomicU64>; 3] = Default::default();
        let ask: [(&str, Ask); 3] =
            [("TCP", over_tcp), ("UDP", over_udp), (TO_ANYONE, over_udp_to_anyone)];
        let threads = ask.into_iter().map(|(how, ask)| {
            let [stop, in_force] = [&stop, &in_force].map(Arc::clone);
            let [asked, lost, older] = [&asked, &lost, &older].map(Arc::clone);
            from.spawn(move || {
                while !stop.load(SeqCst) {
                    let (begin, is_older) = (Instant::now(), !in_force.load(SeqCst));
                    asked.fetch_add(1, SeqCst);
                    if let Err(error) = ask() {
                        lost.fetch_add(1, SeqCst);
                        older.fetch_add(u64::from(how == TO_ANYONE && is_older), SeqCst);
                        eprintln!("over {how}: {error} after {:?}", begin.elapsed());
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { stop, in_force, asked, lost, older, threads }
    }

    /// How many were asked and have no answer that they must have. Where the
    /// kernel tracks nothing, nobody knows whom a socket that is not connected has
    /// asked before programs were attached: of those, one was on its way.
    fn stop(self) -> (u64, u64) {
        self.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("who asks does not panic");
        }
        let excused = self.older.load(SeqCst).min(1);
        (self.asked.load(SeqCst), self.lost.load(SeqCst) - excused)
    }
}

/// Opens a connection, waits a little in it, and asks.
fn over_tcp() -> std::io::Result<()> {
    let mut stream = std::net::TcpStream::connect_timeout(&peer_port(7), SECOND)?;
    stream.set_read_timeout(Some(SECOND))?;
    std::thread::sleep(2 * MS);
    stream.write_all(b"tcp?")?;
    stream.read_exact(&mut [0; 4])
}

fn over_udp() -> std::io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(peer_port(7))?;
    socket.set_read_timeout(Some(SECOND))?;
    socket.send(b"udp?")?;
    socket.recv(&mut [0; 8]).map(drop)
}

fn over_udp_to_anyone() -> std::io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(SECOND))?;
    socket.send_to(b"who?", peer_port(7))?;
    socket.recv_from(&mut [0; 8]).map(drop)
}

/// Rows 1 to 6: the first generation comes into force while the host opens
/// connections without pause, and old ones are idle.
#[test]
fn the_first_enforcement_on_a_busy_host_drops_no_answer() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&peer, peer_port(7));
    let mut idle: Vec<_> = (0..100).map(|_| tcp(&node, peer_port(7), 2 * SECOND)).collect();
    let mut n_asked = 0;
    for round in 0..3 {
        let questions = Questions::start(&node);
        std::thread::sleep(100 * MS);
        let mut firewall = Firewall::new(&node);
        firewall.policy("test.yaml", &policy("test", NOTHING));
        firewall.start();
        questions.in_force.store(true, SeqCst);
        assert_eq!(firewall.status().ingress, Mode::Enforcing);
        assert_eq!(reaches(&peer, node_port(22), SILENCE), Reach::Silent, "it is in force");
        std::thread::sleep(300 * MS);
        let (asked, lost) = questions.stop();
        assert_eq!(lost, 0, "of {asked} questions in round {round}\n{}", firewall.log());
        n_asked += asked;
        for stream in &mut idle {
            stream.write_all(b"idle").expect("sent");
            stream.read_exact(&mut [0; 4]).expect("what was idle goes on");
        }
        firewall.stop();
        firewall.cleanup();
    }
    eprintln!("{n_asked} questions over three first enforcements, none without its answer");
    assert!(n_asked > 300, "{n_asked} questions are no proof");
}

/// T7.
#[test]
fn datagrams_that_the_host_asked_for_survive_the_first_enforcement() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let far = peer.inside(|| UdpSocket::bind(peer_port(9000))).expect("a free port");
    far.set_read_timeout(Some(SECOND)).expect("a limit above zero");
    let mine = udp(&node, peer_port(9000), SECOND);
    mine.send(b"before").expect("sent");
    let (_, back) = far.recv_from(&mut [0; 8]).expect("received");

    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy("test", NOTHING));
    firewall.start();
    std::thread::sleep(SECOND);
    // The far end speaks first.
    far.send_to(b"push", back).expect("sent");
    mine.recv(&mut [0; 8]).expect("the flow is older than the firewall and ours");
    let stranger = peer.inside(|| UdpSocket::bind(peer_port(9001))).expect("a free port");
    stranger.send_to(b"me too", back).expect("sent");
    mine.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
    assert!(mine.recv(&mut [0; 8]).is_err(), "nobody else gets in by it");
}

/// T7, and A9.5 the right way round: what was opened in audit goes on, what
/// only audit let in does not.
#[test]
fn flows_that_the_host_opened_in_audit_survive_the_flip_and_audited_ones_do_not() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let _echo = Echo::start(&node, node_port(7));
    let far = peer.inside(|| UdpSocket::bind(peer_port(9000))).expect("a free port");
    far.set_read_timeout(Some(SECOND)).expect("a limit above zero");
    let server = peer.inside(|| TcpListener::bind(peer_port(9000))).expect("a free port");
    let mut firewall = Firewall::new(&node);
    firewall.configure("audit: true\n");
    firewall.policy("test.yaml", &policy("test", "ingress:\n- {}\negress:\n- {}\n"));
    firewall.start();

    let mine = udp(&node, peer_port(9000), SECOND);
    mine.send(b"in audit").expect("sent");
    let (_, back) = far.recv_from(&mut [0; 8]).expect("received");
    let mut opened = tcp(&node, peer_port(9000), SECOND);
    let (mut accepted, _) = server.accept().expect("the node has connected");
    let theirs = udp(&peer, node_port(7), SECOND);
    let mut also_theirs = tcp(&peer, node_port(7), SECOND);
    theirs.send(b"hello").expect("sent");
    theirs.recv(&mut [0; 8]).expect("audit lets it in, and its answer out");
    also_theirs.write_all(b"hello").expect("sent");
    also_theirs.read_exact(&mut [0; 5]).expect("the same");

    // Only ingress is enforced afterwards, so that egress withdraws nothing.
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", NOTHING)));
    assert_eq!(firewall.hostfw(&["audit", "off"]).code, 0);
    firewall.await_status("enforcement", |status| status.ingress == Mode::Enforcing);
    far.send_to(b"push", back).expect("sent");
    mine.recv(&mut [0; 8]).expect("a flow that was opened in audit");
    accepted.write_all(b"push").expect("sent");
    opened.read_exact(&mut [0; 4]).expect("a connection that was opened in audit");
    theirs.send(b"hello").expect("sent");
    theirs.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
    assert!(theirs.recv(&mut [0; 8]).is_err(), "what only audit let in");
    also_theirs.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
    also_theirs.write_all(b"hello").expect("sent");
    assert!(also_theirs.read_exact(&mut [0; 5]).is_err(), "the same over TCP");
}

/// T7: who asks whom is known although nothing is enforced.
#[test]
fn a_datagram_flow_that_a_peer_opened_before_enforcement_needs_a_rule_then() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let (_echo, _far) = (Echo::start(&node, node_port(7)), Echo::start(&peer, peer_port(7)));
    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy_for_nobody("test"));
    firewall.start();
    let theirs = udp(&peer, node_port(7), SECOND);
    let ours = udp(&node, peer_port(7), SECOND);
    for socket in [&theirs, &ours] {
        socket.send(b"hello").expect("sent");
        socket.recv(&mut [0; 8]).expect("nothing is enforced");
    }
    let lists = format!("ingress:\n{}", open_port(8, "UDP"));
    firewall.apply(|firewall| firewall.policy("test.yaml", &policy("test", &lists)));
    ours.send(b"hello").expect("sent");
    ours.recv(&mut [0; 8]).expect("what the host asked for");
    theirs.set_read_timeout(Some(SILENCE)).expect("a limit above zero");
    for _ in 0..3 {
        theirs.send(b"hello").expect("sent");
        assert!(theirs.recv(&mut [0; 8]).is_err(), "what a peer opened needs a rule");
    }
}

/// A container of the node: its own namespace, whose traffic leaves with the
/// node's address. `None` where the kernel cannot translate.
fn container(lab: &Lab, node: &Host) -> Option<Host> {
    let container = lab.host("container");
    lab.cable((node, "box0", "02:00:00:00:01:01"), (&container, "eth0", "02:00:00:00:01:02"));
    node.ip("link set box0 up\naddr add 172.17.0.1/24 dev box0\n");
    container.ip(
        "link set eth0 up\naddr add 172.17.0.2/24 dev eth0\nroute add default via 172.17.0.1\n",
    );
    wait_until_up(&[(node, "box0"), (&container, "eth0")]);
    node.sysctl("net/ipv4/ip_forward", "1");
    let rules = node.folder().join("nat.nft");
    let text = "table ip nat { chain out { type nat hook postrouting priority 100; \
                ip saddr 172.17.0.0/24 oifname \"eth0\" masquerade; }; }\n";
    std::fs::write(&rules, text).expect("a file of the lab");
    let status = node.command(binary("nft")).arg("-f").arg(&rules).status();
    status.is_ok_and(|status| status.success()).then_some(container)
}

/// T20.
#[test]
fn masqueraded_connections_older_than_the_firewall_keep_their_answers() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let Some(container) = container(&lab, &node) else {
        eprintln!("no nf_conntrack in this kernel, or no nft: masquerading was not tested");
        return;
    };
    let _echo = Echo::start(&peer, peer_port(7));
    let server = peer.inside(|| TcpListener::bind(peer_port(9000))).expect("a free port");
    let far = peer.inside(|| UdpSocket::bind(peer_port(9001))).expect("a free port");
    far.set_read_timeout(Some(SECOND)).expect("a limit above zero");
    let mut old = tcp(&container, peer_port(9000), SECOND);
    let (mut old_far, from) = server.accept().expect("the container has connected");
    assert_eq!(from.ip(), node_port(0).ip(), "it comes with the node's address");
    let old_udp = udp(&container, peer_port(9001), SECOND);
    old_udp.send(b"before").expect("sent");
    let (_, back) = far.recv_from(&mut [0; 8]).expect("received");

    let mut firewall = Firewall::new(&node);
    let lists = format!("ingress:\n- {{}}\negress:\n{}", open_port(1, "TCP"));
    firewall.policy("test.yaml", &policy("test", &lists));
    firewall.start();
    assert!(firewall.log().contains("n_tracked=2"), "{}", firewall.log());
    // The far end speaks first, after a while.
    std::thread::sleep(SECOND);
    old_far.write_all(b"push").expect("sent");
    old.read_exact(&mut [0; 4]).expect("an old connection of the container goes on");
    far.send_to(b"push", back).expect("sent");
    old_udp.recv(&mut [0; 8]).expect("an old datagram flow too");
    let mut new = tcp(&container, peer_port(7), SECOND);
    new.write_all(b"new").expect("sent");
    new.read_exact(&mut [0; 3]).expect("a new connection of the container");
    assert_eq!(reaches(&node, peer_port(7), SILENCE), Reach::Silent, "the node's egress is closed");
    assert_eq!(reaches(&peer, node_port(22), SILENCE), Reach::Silent, "and so is its ingress");
    let report: hostfw_api::ConnectionsReport =
        firewall.ask("GET", hostfw_api::CONNECTIONS_PATH, "").expect("an answer");
    assert!(report.connections.iter().any(|one| one.remote_port == 9000), "{report:#?}");
    assert!(firewall.status().problems.is_empty());
    // A second start finds its tables and asks for nothing.
    firewall.stop();
    let restarted = Instant::now();
    firewall.start();
    old_far.write_all(b"push").expect("sent");
    old.read_exact(&mut [0; 4]).expect("and after a restart");
    assert!(restarted.elapsed() < Duration::from_secs(20));
}

/// A5.9 and A7.2: that a socket names somebody says who would have opened a flow, and
/// not that policy lets the host do so.
#[test]
fn a_restart_admits_no_peer_that_a_socket_only_names() {
    let lab = lab!();
    let (node, peer) = pair(&lab);
    let mut firewall = Firewall::new(&node);
    firewall.policy("test.yaml", &policy("test", "ingress:\n- {}\negress:\n- {}\n"));
    firewall.start();
    // It names its peer, and sends nothing.
    let named = udp(&node, peer_port(5000), SILENCE);
    let to = node_port(named.local_addr().expect("bound").port());
    firewall.stop();
    firewall.start();
    let from = peer.inside(|| UdpSocket::bind(peer_port(5000))).expect("a free port");
    from.send_to(b"nobody asked", to).expect("sent");
    assert!(named.recv(&mut [0; 16]).is_err(), "egress policy does not let the node ask");
    assert!(firewall.ingress_packets("default-deny") > 0, "and it did come");
}
