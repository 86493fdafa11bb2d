//! What a policy about forwarding does to a packet, hook by hook, over compiled
//! images and without a kernel (T17, T18): host-behaviour clauses A1.3 and A3.

use std::net::IpAddr;

use hostfw_datapath::{
    Action, Direction, Reason,
    judge::judge,
    model::{Bytes, Model},
    sketch::{self, Content},
};
use hostfw_parity::policies::compile_for;

const OWN: &str = "10.0.0.1";
const CLIENT: &str = "10.9.0.5";
const SERVER: &str = "192.0.2.7";
const STRANGER: &str = "203.0.113.9";
const ROUTER: &str = "198.51.100.1";

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

/// Clients may go to servers, by HTTPS, DNS and echo.
const FORWARD: &str = r#"
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: transit, annotations: {hostfw.io/scope: forward}}
spec:
  nodeSelector: {}
  ingress:
  - fromCIDR: [10.9.0.0/24]
    toPorts: [{ports: [{port: "443", protocol: TCP}, {port: "53", protocol: UDP}]}]
  - fromCIDR: [10.9.0.0/24]
    icmps: [{fields: [{type: 8, family: IPv4}]}]
  egress:
  - toCIDR: [192.0.2.0/24]
"#;

/// One node with a policy, and what it remembers.
struct Node {
    words: Vec<u32>,
    model: Model,
    audit: bool,
}

/// A hook: where a packet arrives, or where it leaves on behalf of somebody.
#[derive(Clone, Copy)]
enum Hook {
    Arrives,
    Leaves,
}
use Hook::{Arrives, Leaves};

impl Node {
    fn with(policies: &str) -> Self {
        let own = [OWN.parse().expect("an address")];
        let words = compile_for(policies, &own, 1).expect("valid").words;
        let model = Model { forwarding: true, ..Model::default() };
        Self { words, model, audit: false }
    }

    fn sees(&self, hook: Hook, from: &str, to: &str, content: Content) -> (Action, Reason) {
        self.sees_frame(hook, &sketch::ethernet(address(from), address(to), content))
    }

    fn sees_frame(&self, hook: Hook, frame: &[u8]) -> (Action, Reason) {
        let mut packet = Bytes::ethernet(frame);
        let direction = match hook {
            Arrives => Direction::Ingress,
            Leaves => {
                packet.facts.forwarded = true;
                Direction::Egress
            }
        };
        let words = self.words.as_slice();
        let judged = judge(direction, &packet, &words, &self.model, self.audit);
        (judged.verdict.action, judged.verdict.reason)
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

const fn tcp(from: u16, to: u16, flags: u8) -> Content {
    Content::Tcp { from, to, flags }
}

const fn udp(from: u16, to: u16) -> Content {
    Content::Udp { from, to }
}

const ALLOWED: (Action, Reason) = (Action::Pass, Reason::Rule);
const ANSWER: (Action, Reason) = (Action::Pass, Reason::Admitted);
const DENIED: (Action, Reason) = (Action::Drop, Reason::DefaultDeny);
const TRANSIT: (Action, Reason) = (Action::Pass, Reason::Transit);

#[test]
fn without_a_policy_about_it_nothing_forwarded_is_judged() {
    let host = FORWARD.replace("{hostfw.io/scope: forward}", "{}");
    let node = Node::with(&host);
    for hook in [Arrives, Leaves] {
        assert_eq!(node.sees(hook, STRANGER, CLIENT, tcp(1, 2, SYN)), TRANSIT);
    }
}

#[test]
fn both_ends_of_a_forwarded_packet_are_asked_wherever_it_is_seen() {
    let node = Node::with(FORWARD);
    for hook in [Arrives, Leaves] {
        assert_eq!(node.sees(hook, CLIENT, SERVER, tcp(40_000, 443, SYN)), ALLOWED);
        assert_eq!(node.sees(hook, CLIENT, SERVER, tcp(40_000, 80, SYN)), DENIED, "the port");
        assert_eq!(node.sees(hook, STRANGER, SERVER, tcp(40_000, 443, SYN)), DENIED, "the sender");
        assert_eq!(node.sees(hook, CLIENT, STRANGER, tcp(40_000, 443, SYN)), DENIED, "the end");
    }
}

#[test]
fn answers_of_a_connection_pass_whatever_its_age_and_open_nothing() {
    let node = Node::with(FORWARD);
    for hook in [Arrives, Leaves] {
        // Nothing was seen before: no entry is needed.
        for flags in [SYN_ACK, ACK] {
            assert_eq!(node.sees(hook, SERVER, CLIENT, tcp(443, 40_000, flags)), ANSWER);
        }
        assert_eq!(node.sees(hook, SERVER, CLIENT, tcp(443, 40_000, SYN)), DENIED);
        assert_eq!(node.sees(hook, SERVER, CLIENT, tcp(80, 40_000, ACK)), DENIED);
        assert_eq!(node.sees(hook, STRANGER, CLIENT, tcp(443, 40_000, ACK)), DENIED);
    }
    assert!(node.model.flows.borrow().is_empty());
}

#[test]
fn a_datagram_is_an_answer_only_after_its_question() {
    let node = Node::with(FORWARD);
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, udp(53, 40_000)), DENIED);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, udp(40_000, 53)), ALLOWED);
    assert_eq!(node.sees(Leaves, CLIENT, SERVER, udp(40_000, 53)), ALLOWED);
    for hook in [Arrives, Leaves] {
        assert_eq!(node.sees(hook, SERVER, CLIENT, udp(53, 40_000)), ANSWER);
        assert_eq!(node.sees(hook, SERVER, CLIENT, udp(53, 40_001)), DENIED);
    }
    // A question that was denied opens no way for an answer.
    assert_eq!(node.sees(Arrives, CLIENT, STRANGER, udp(40_002, 53)), DENIED);
    assert_eq!(node.sees(Leaves, STRANGER, CLIENT, udp(53, 40_002)), DENIED);
    node.model.now_s.set(node.model.now_s.get() + 181);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, udp(53, 40_000)), DENIED, "silent for too long");
}

#[test]
fn echo_goes_and_comes_back() {
    let node = Node::with(FORWARD);
    let echo = |kind| Content::Icmp { kind, code: 0, id: 7 };
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, echo(0)), DENIED);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, echo(8)), ALLOWED);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, echo(0)), ANSWER);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, echo(8)), DENIED);
}

#[test]
fn an_error_passes_when_what_it_quotes_is_admitted() {
    let node = Node::with(FORWARD);
    let about = |from: &str, to: &str, content| {
        let error = Content::Icmp { kind: 11, code: 0, id: 0 };
        let mut frame = sketch::ethernet(address(ROUTER), address(CLIENT), error);
        frame.extend(sketch::ip(address(from), address(to), content));
        let length = u16::try_from(frame.len() - 14).expect("short").to_be_bytes();
        frame[16..18].copy_from_slice(&length);
        node.sees_frame(Arrives, &frame)
    };
    let related = (Action::Pass, Reason::Related);
    assert_eq!(about(CLIENT, SERVER, tcp(40_000, 443, ACK)), related);
    assert_eq!(about(SERVER, CLIENT, tcp(443, 40_000, ACK)), related);
    assert_eq!(about(CLIENT, SERVER, tcp(40_000, 80, ACK)), DENIED);
    assert_eq!(about(CLIENT, STRANGER, tcp(40_000, 443, ACK)), DENIED);
    let empty = Content::Icmp { kind: 11, code: 0, id: 0 };
    assert_eq!(node.sees(Arrives, ROUTER, CLIENT, empty).0, Action::Drop);
}

/// T18. The node port is a port of this host until the kernel translates it:
/// host policy sees it before, policy about forwarding sees it behind.
#[test]
fn a_translated_flow_is_judged_before_and_behind_its_translation() {
    let node_port = r#"
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: node-port}
spec:
  nodeSelector: {}
  ingress:
  - fromCIDR: [10.9.0.0/24]
    toPorts: [{ports: [{port: "30443", protocol: TCP}, {port: "30053", protocol: UDP}]}]
"#;
    let node = Node::with(&format!("{FORWARD}{node_port}"));
    // Before: to an address and a port of this host.
    assert_eq!(node.sees(Arrives, CLIENT, OWN, tcp(40_000, 30_443, SYN)), ALLOWED);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, tcp(40_000, 30_444, SYN)), DENIED);
    // Behind: to where it really goes.
    assert_eq!(node.sees(Leaves, CLIENT, SERVER, tcp(40_000, 443, SYN)), ALLOWED);
    assert_eq!(node.sees(Leaves, CLIENT, STRANGER, tcp(40_000, 443, SYN)), DENIED);
    // The answer arrives as it was sent, and leaves under our address again.
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, tcp(443, 40_000, SYN_ACK)), ANSWER);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, tcp(30_443, 40_000, SYN_ACK)), ANSWER);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, tcp(30_444, 40_000, SYN_ACK)), DENIED);
    // Datagrams, whose answers need their question.
    assert_eq!(node.sees(Leaves, OWN, CLIENT, udp(30_053, 40_000)), DENIED);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, udp(40_000, 30_053)), ALLOWED);
    assert_eq!(node.sees(Leaves, CLIENT, SERVER, udp(40_000, 53)), ALLOWED);
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, udp(53, 40_000)), ANSWER);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, udp(30_053, 40_000)), ANSWER);
}

#[test]
fn a_node_port_needs_no_host_policy_for_its_answers() {
    let node = Node::with(FORWARD);
    let open = (Action::Pass, Reason::NotEnforced);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, udp(40_000, 30_053)), open);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, udp(30_053, 40_000)), ANSWER);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, tcp(40_000, 30_443, SYN)), open);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, tcp(30_443, 40_000, SYN_ACK)), ANSWER);
}

/// T20. A masqueraded sender was judged where it arrived.
#[test]
fn a_masqueraded_flow_is_judged_by_its_destination_and_keeps_its_answers() {
    let node = Node::with(FORWARD);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, tcp(40_000, 443, SYN)), ALLOWED);
    assert_eq!(node.sees(Leaves, OWN, SERVER, tcp(40_000, 443, SYN)), ALLOWED);
    assert_eq!(node.sees(Leaves, OWN, STRANGER, tcp(40_000, 443, SYN)), DENIED);
    let open = (Action::Pass, Reason::NotEnforced);
    assert_eq!(node.sees(Arrives, SERVER, OWN, tcp(443, 40_000, SYN_ACK)), open);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, tcp(443, 40_000, SYN_ACK)), ANSWER);
}

#[test]
fn the_own_traffic_of_the_host_is_not_forwarded() {
    let node = Node::with(FORWARD);
    let open = (Action::Pass, Reason::NotEnforced);
    assert_eq!(node.sees(Arrives, STRANGER, OWN, tcp(40_000, 22, SYN)), open);
    assert_eq!(node.sees(Arrives, STRANGER, "224.0.0.18", udp(1, 2)), open);
}

#[test]
fn a_deny_rule_about_forwarding_stays_in_force_while_auditing() {
    let deny = "  egressDeny:\n  - toCIDR: [192.0.2.66/32]\n";
    let mut node = Node::with(&format!("{FORWARD}{deny}"));
    node.audit = true;
    let would = (Action::Audit, Reason::DefaultDeny);
    assert_eq!(node.sees(Arrives, STRANGER, SERVER, tcp(1, 443, SYN)), would);
    let denied = (Action::Drop, Reason::ExplicitDeny);
    assert_eq!(node.sees(Arrives, CLIENT, "192.0.2.66", tcp(1, 443, SYN)), denied);
}
