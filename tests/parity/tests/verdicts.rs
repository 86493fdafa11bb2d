//! Every generated packet gets the same action, reason, rule and verdict from
//! the kernel's program and from the native build, with the state that earlier
//! packets have left (host-behaviour A3 to A8, design section 2).

#![expect(clippy::print_stdout, reason = "the counts say what was covered")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, TcpListener, TcpStream},
};

use hostfw_daemon::kernel::{Capacity, Kernel, Seen, Socket, SocketState};
use hostfw_datapath::{
    Address, Direction, Facts, Reason,
    control_word::{ControlWord, InForce},
    flow::FlowKey,
    judge,
    model::{Bytes, Model},
    parse::protocol,
    tables::Opener,
};
use hostfw_parity::{
    packets::{self, Case, OWN_V4, UNLISTED_V4},
    policies,
    sandbox::{Sandbox, run},
};
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

/// Policy sets, and packets for each.
const SETS: usize = 60;
const PACKETS: usize = 4_000;

/// A runner whose values depend on nothing but this number.
fn runner(seed: u8) -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(Config::default(), rng)
}

/// The host that both sides see: a forwarding one, with one connection of each
/// direction and one address that no image lists.
struct Host {
    sockets: BTreeMap<FlowKey, Opener>,
    listed: Vec<Socket>,
    _streams: Vec<TcpStream>,
    _listener: TcpListener,
}

impl Host {
    fn new() -> Self {
        run("ip", &["link", "add", "out0", "type", "veth", "peer", "name", "out1"])
            .expect("a pair");
        run("ip", &["link", "set", "out1", "up"]).expect("up");
        run("ip", &["link", "set", "out0", "up"]).expect("up");
        for address in ["10.0.0.1/32", "192.0.2.1/32", "10.0.9.9/32"] {
            run("ip", &["addr", "add", address, "dev", "lo"]).expect("an address");
        }
        for address in ["fd00::1/128", "fe80::1/128"] {
            run("ip", &["addr", "add", address, "dev", "lo", "nodad"]).expect("an address");
        }
        for family in ["-4", "-6"] {
            run("ip", &[family, "route", "add", "default", "dev", "out0"]).expect("a route");
        }
        for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            run("sysctl", &["-qw", setting]).expect("forwarding");
        }
        let listener = TcpListener::bind((OWN_V4[0], 443)).expect("a listener");
        let stream = TcpStream::connect((OWN_V4[0], 443)).expect("a connection");
        let (other, _) = listener.accept().expect("its other end");
        let here = stream.local_addr().expect("an end").port();
        let key = |local_port, remote_port| FlowKey {
            local: Address::from(IpAddr::V4(OWN_V4[0])),
            remote: Address::from(IpAddr::V4(OWN_V4[0])),
            local_port,
            remote_port,
            protocol: protocol::TCP,
            zero: [0; 3],
        };
        let sockets =
            BTreeMap::from([(key(here, 443), Opener::Host), (key(443, here), Opener::Peer)]);
        let socket = |local_port, remote_port| Socket {
            protocol: protocol::TCP,
            local: IpAddr::V4(OWN_V4[0]),
            local_port,
            remote: IpAddr::V4(OWN_V4[0]),
            remote_port,
            state: SocketState::Connected,
        };
        let listed = vec![socket(here, 443), socket(443, here)];
        Self { sockets, listed, _streams: vec![stream, other], _listener: listener }
    }

    fn model(&self) -> Model {
        let model = Model {
            forwarding: true,
            delivered: [Address::from(IpAddr::V4(UNLISTED_V4))].into(),
            sockets: self.sockets.clone(),
            ..Model::default()
        };
        for socket in &self.listed {
            model.opened.borrow_mut().insert((protocol::TCP, socket.local_port));
        }
        model
    }

    /// Packets of the live connection, from and to both of its ends.
    fn talk(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for socket in &self.listed {
            for (flags, egress) in [(0x10u8, false), (0x10, true), (0x04, false), (0x12, true)] {
                let (from, to) = if egress {
                    (socket.local_port, socket.remote_port)
                } else {
                    (socket.remote_port, socket.local_port)
                };
                let content = hostfw_datapath::sketch::Content::Tcp { from, to, flags };
                let bytes = hostfw_datapath::sketch::ethernet(socket.remote, socket.local, content);
                let layer = hostfw_datapath::packet::Layer::Ethernet;
                cases.push(Case { bytes, layer, egress, forwarded: false });
            }
        }
        cases
    }
}

fn native(case: &Case, words: &[u32], model: &Model, audit: bool) -> Seen {
    let facts = Facts { layer: case.layer, vlan: 0, forwarded: case.forwarded };
    let packet = Bytes { bytes: &case.bytes, facts };
    let direction = if case.egress { Direction::Egress } else { Direction::Ingress };
    let verdict = judge(direction, &packet, &words, model, audit).verdict;
    Seen {
        action: verdict.action as u8,
        reason: verdict.reason as u8,
        rule: verdict.rule,
        verdict: verdict.verdict,
    }
}

#[test]
fn the_kernel_and_the_native_build_agree_on_every_packet() {
    let sandbox = Sandbox::enter("verdicts").expect("namespaces");
    let host = Host::new();
    let mut judged = 0;
    let mut refused = 0;
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut kernel = sandbox.kernel("pins", true, Capacity::SMALL).expect("the programs load");
    kernel.seed(&host.listed, 0).expect("the ports are noted");
    let model = host.model();
    let set_strategy = policies::policy_set();
    let packet_strategy = vec(packets::case(), PACKETS..=PACKETS);
    for set in 0..SETS {
        let mut runner = runner(u8::try_from(set).expect("few sets"));
        let policies = set_strategy.new_tree(&mut runner).expect("policies").current();
        let generation = u32::try_from(set).expect("few sets") + 1;
        let compiled = policies.compile(generation).expect("generated policies are valid");
        let words = compiled.words;
        let audit = set % 4 == 3;
        let slot = kernel.load(&words, &packets::own()).expect("the image loads");
        kernel.switch(ControlWord::confirmed(InForce { slot, audit })).expect("the switch");
        let mut cases = host.talk();
        cases.extend(packet_strategy.new_tree(&mut runner).expect("packets").current());
        for case in cases {
            let model = at_now(&model, &kernel);
            let expected = native(&case, &words, model, audit);
            match kernel.test_run(case.egress, case.layer, case.forwarded, &case.bytes) {
                Ok(seen) => {
                    judged += 1;
                    if let Some(reason) = Reason::from_number(seen.reason) {
                        *reasons.entry(reason).or_default() += 1;
                    }
                    assert_eq!(
                        seen,
                        expected,
                        "set {set}, audit {audit}, packet {judged}: {case:02x?}\nasked: {:#?}\n{}",
                        model.take_questions(),
                        policies.text()
                    );
                    model.take_questions();
                }
                // The runner refuses frames shorter than the header that their
                // ethertype promises; both tables must forget such a packet.
                Err(_) => refused += 1,
            }
        }
    }
    println!("{judged} packets judged alike, {refused} refused by the test runner");
    for (reason, count) in &reasons {
        println!("{count:>8} {reason}");
    }
    assert!(judged >= 200_000, "only {judged} packets were judged");
    assert!(refused * 20 < judged, "the runner refused {refused} of {judged}");
    for reason in Reason::ALL {
        let untestable = [Reason::NoPolicy, Reason::BrokenImage, Reason::NoProxy];
        assert!(
            untestable.contains(reason) || reasons.contains_key(reason),
            "no packet was judged {reason}"
        );
    }
}

/// The model at the kernel's own second.
fn at_now<'a>(model: &'a Model, kernel: &Kernel) -> &'a Model {
    model.now_s.set(kernel.now_s());
    model
}
