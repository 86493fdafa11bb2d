//! What a policy about forwarding does to a packet, hook by hook (T17, T18):
//! host-behaviour clauses A1.3 and A3.

use super::*;

const CLIENT: &str = FRIEND;
const SERVER: &str = POD;

/// A hook: where a packet arrives, or where it leaves on behalf of somebody.
#[derive(Clone, Copy)]
enum Hook {
    Arrives,
    Leaves,
}
use Hook::{Arrives, Leaves};

/// A node that forwards for friends what their rules name, to pods, and denies
/// foes; the host's own ingress is in force where asked for.
struct Node(Host);

impl Node {
    fn new(ingress: bool) -> Self {
        Self::with(ingress, [true, true])
    }

    /// `forward`: the directions of forwarding that are in force.
    fn with(ingress: bool, forward: [bool; 2]) -> Self {
        let mut words = picture(ingress, false);
        // The host's rows ask the sender; every pod may be a destination.
        let inward = words[(AT_HOST + SUBJECT_ROWS) as usize];
        let mut outward = vec![0; 256];
        for (class, row) in [(0, [6; 16]), (1, [6; 16]), (2, [6; 16]), (3, [5; 16])] {
            outward[class] = words.len() as u32;
            words.extend(row);
        }
        let rows = words.len() as u32;
        words.extend(outward);
        let subjects = words.len() as u32;
        words.extend([u32::from(forward[0]), inward, 1, 1, u32::from(forward[1]), rows, 1, 1]);
        words[AT_SUBJECTS as usize] = subjects;
        words[AT_N_SUBJECTS as usize] = 2;
        words[AT_FORWARD as usize] = 1;
        let model = Model { forwarding: true, ..Model::default() };
        Self(Host { words, model, audit: false })
    }

    fn sees(&self, hook: Hook, from: &str, to: &str, content: Content) -> (Action, Reason) {
        self.sees_frame(hook, &sketch::ethernet(ip(from), ip(to), content))
    }

    fn sees_frame(&self, hook: Hook, frame: &[u8]) -> (Action, Reason) {
        let (direction, forwarded) = match hook {
            Arrives => (Direction::Ingress, false),
            Leaves => (Direction::Egress, true),
        };
        let verdict = self.0.verdict(direction, frame, Layer::Ethernet, forwarded);
        (verdict.action, verdict.reason)
    }
}

const ANSWER: (Action, Reason) = ADMITTED;
const TRANSIT: (Action, Reason) = (Action::Pass, Reason::Transit);

#[test]
fn without_a_policy_about_it_nothing_forwarded_is_judged() {
    let mut node = Node::new(true);
    node.0.words[AT_FORWARD as usize] = HOST;
    for hook in [Arrives, Leaves] {
        assert_eq!(node.sees(hook, STRANGER, SERVER, tcp(1, 2, SYN)), TRANSIT);
    }
}

#[test]
fn each_direction_of_forwarding_is_put_in_force_by_itself() {
    for hook in [Arrives, Leaves] {
        let senders = Node::with(true, [true, false]);
        assert_eq!(senders.sees(hook, CLIENT, STRANGER, tcp(40_000, 22, SYN)), RULE);
        assert_eq!(senders.sees(hook, STRANGER, SERVER, tcp(40_000, 22, SYN)), DENIED);
        let ends = Node::with(true, [false, true]);
        assert_eq!(ends.sees(hook, STRANGER, SERVER, tcp(40_000, 80, SYN)), RULE);
        assert_eq!(ends.sees(hook, CLIENT, STRANGER, tcp(40_000, 22, SYN)), DENIED);
        let neither = Node::with(true, [false, false]);
        let open = (Action::Pass, Reason::DefaultAllow);
        assert_eq!(neither.sees(hook, STRANGER, CLIENT, tcp(40_000, 22, SYN)), open);
    }
}

#[test]
fn both_ends_of_a_forwarded_packet_are_asked_wherever_it_is_seen() {
    let node = Node::new(false);
    for hook in [Arrives, Leaves] {
        assert_eq!(node.sees(hook, CLIENT, SERVER, tcp(40_000, 22, SYN)), RULE);
        assert_eq!(node.sees(hook, CLIENT, SERVER, tcp(40_000, 80, SYN)), DENIED, "the port");
        assert_eq!(node.sees(hook, STRANGER, SERVER, tcp(40_000, 22, SYN)), DENIED, "the sender");
        assert_eq!(node.sees(hook, CLIENT, STRANGER, tcp(40_000, 22, SYN)), DENIED, "the end");
    }
}

#[test]
fn answers_of_a_connection_pass_whatever_its_age_and_open_nothing() {
    let node = Node::new(false);
    for hook in [Arrives, Leaves] {
        // Nothing was seen before: no entry is needed.
        for flags in [SYN_ACK, ACK] {
            assert_eq!(node.sees(hook, SERVER, CLIENT, tcp(22, 40_000, flags)), ANSWER);
        }
        assert_eq!(node.sees(hook, SERVER, CLIENT, tcp(22, 40_000, SYN)), DENIED);
        assert_eq!(node.sees(hook, SERVER, CLIENT, tcp(80, 40_000, ACK)), DENIED);
        assert_eq!(node.sees(hook, STRANGER, CLIENT, tcp(22, 40_000, ACK)), DENIED);
    }
    assert!(node.0.model.flows.borrow().is_empty());
}

#[test]
fn a_datagram_is_an_answer_only_after_its_question() {
    let node = Node::new(false);
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, udp(53, 40_000)), DENIED);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, udp(40_000, 53)), RULE);
    assert_eq!(node.sees(Leaves, CLIENT, SERVER, udp(40_000, 53)), RULE);
    for hook in [Arrives, Leaves] {
        assert_eq!(node.sees(hook, SERVER, CLIENT, udp(53, 40_000)), ANSWER);
        assert_eq!(node.sees(hook, SERVER, CLIENT, udp(53, 40_001)), DENIED);
    }
    // A question that was denied opens no way for an answer.
    assert_eq!(node.sees(Arrives, CLIENT, STRANGER, udp(40_002, 53)), DENIED);
    assert_eq!(node.sees(Leaves, STRANGER, CLIENT, udp(53, 40_002)), DENIED);
    node.0.model.now_s.set(node.0.model.now_s.get() + 181);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, udp(53, 40_000)), DENIED, "silent for too long");
}

#[test]
fn echo_goes_and_comes_back() {
    let node = Node::new(false);
    let echo = |kind| Content::Icmp { kind, code: 0, id: 7 };
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, echo(0)), DENIED);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, echo(8)), RULE);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, echo(0)), ANSWER);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, echo(8)), DENIED);
}

#[test]
fn an_error_passes_when_what_it_quotes_is_admitted() {
    let node = Node::new(false);
    let about = |from: &str, to: &str, content| {
        let error = Content::Icmp { kind: 11, code: 0, id: 0 };
        let mut frame = sketch::ethernet(ip(ROUTER), ip(CLIENT), error);
        frame.extend(sketch::ip(ip(from), ip(to), content));
        let length = u16::try_from(frame.len() - 14).expect("short").to_be_bytes();
        frame[16..18].copy_from_slice(&length);
        node.sees_frame(Arrives, &frame)
    };
    let related = (Action::Pass, Reason::Related);
    assert_eq!(about(CLIENT, SERVER, tcp(40_000, 22, ACK)), related);
    assert_eq!(about(SERVER, CLIENT, tcp(22, 40_000, ACK)), related);
    assert_eq!(about(CLIENT, SERVER, tcp(40_000, 80, ACK)), DENIED);
    assert_eq!(about(CLIENT, STRANGER, tcp(40_000, 22, ACK)), DENIED);
    let empty = Content::Icmp { kind: 11, code: 0, id: 0 };
    assert_eq!(node.sees(Arrives, ROUTER, CLIENT, empty).0, Action::Drop);
}

/// T18. The node port is a port of this host until the kernel translates it:
/// host policy sees it before, policy about forwarding sees it behind.
#[test]
fn a_translated_flow_is_judged_before_and_behind_its_translation() {
    let node = Node::new(true);
    // Before: to an address and a port of this host.
    assert_eq!(node.sees(Arrives, CLIENT, OWN, tcp(40_000, 22, SYN)), RULE);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, tcp(40_000, 23, SYN)), DENIED);
    // Behind: to where it really goes.
    assert_eq!(node.sees(Leaves, CLIENT, SERVER, tcp(40_000, 22, SYN)), RULE);
    assert_eq!(node.sees(Leaves, CLIENT, STRANGER, tcp(40_000, 22, SYN)), DENIED);
    // The answer arrives as it was sent, and leaves under our address again.
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, tcp(22, 40_000, SYN_ACK)), ANSWER);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, tcp(22, 40_000, SYN_ACK)), ANSWER);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, tcp(23, 40_000, SYN_ACK)), DENIED);
    // Datagrams, whose answers need their question.
    assert_eq!(node.sees(Leaves, OWN, CLIENT, udp(53, 40_000)), DENIED);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, udp(40_000, 53)), RULE);
    assert_eq!(node.sees(Leaves, CLIENT, SERVER, udp(40_000, 53)), RULE);
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, udp(53, 40_000)), ANSWER);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, udp(53, 40_000)), ANSWER);
}

#[test]
fn a_node_port_needs_no_host_policy_for_its_answers() {
    let node = Node::new(false);
    let open = (Action::Pass, Reason::NotEnforced);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, udp(40_000, 53)), open);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, udp(53, 40_000)), ANSWER);
    assert_eq!(node.sees(Arrives, CLIENT, OWN, tcp(40_000, 22, SYN)), open);
    assert_eq!(node.sees(Leaves, OWN, CLIENT, tcp(22, 40_000, SYN_ACK)), ANSWER);
}

/// T20. A masqueraded sender was judged where it arrived.
#[test]
fn a_masqueraded_flow_is_judged_by_its_destination_and_keeps_its_answers() {
    let node = Node::new(false);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, tcp(40_000, 22, SYN)), RULE);
    assert_eq!(node.sees(Leaves, OWN, SERVER, tcp(40_000, 22, SYN)), RULE);
    assert_eq!(node.sees(Leaves, OWN, STRANGER, tcp(40_000, 22, SYN)), DENIED);
    let open = (Action::Pass, Reason::NotEnforced);
    assert_eq!(node.sees(Arrives, SERVER, OWN, tcp(22, 40_000, SYN_ACK)), open);
    assert_eq!(node.sees(Leaves, SERVER, CLIENT, tcp(22, 40_000, SYN_ACK)), ANSWER);
}

#[test]
fn the_own_traffic_of_the_host_is_not_forwarded() {
    let node = Node::new(false);
    let open = (Action::Pass, Reason::NotEnforced);
    assert_eq!(node.sees(Arrives, STRANGER, OWN, tcp(40_000, 22, SYN)), open);
    assert_eq!(node.sees(Arrives, STRANGER, "224.0.0.18", udp(1, 2)), open);
}

#[test]
fn a_deny_rule_about_forwarding_stays_in_force_while_auditing() {
    let mut node = Node::new(false);
    node.0.audit = true;
    let would = (Action::Audit, Reason::DefaultDeny);
    assert_eq!(node.sees(Arrives, STRANGER, SERVER, tcp(1, 22, SYN)), would);
    let denied = (Action::Drop, Reason::ExplicitDeny);
    assert_eq!(node.sees(Arrives, FOE, SERVER, tcp(1, 22, SYN)), denied);
}

#[test]
fn a_cut_packet_falls_where_it_is_forwarded_and_not_where_it_is_for_the_host() {
    let node = Node::new(false);
    let cut = |to| {
        let frame = sketch::ethernet(ip(CLIENT), ip(to), tcp(40_000, 22, SYN));
        node.sees_frame(Arrives, &frame[..40])
    };
    assert_eq!(cut(SERVER), (Action::Drop, Reason::Malformed));
    assert_eq!(cut(OWN), OPEN);
}

#[test]
fn only_what_can_be_answered_by_datagrams_is_kept() {
    let node = Node::new(false);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, tcp(40_000, 22, SYN)), RULE);
    // Nothing in force asks the sender: the answer is allowed by a rule.
    let ends = Node::with(false, [false, true]);
    assert_eq!(ends.sees(Arrives, CLIENT, SERVER, icmp(0)), RULE);
    for node in [node, ends] {
        assert!(node.0.model.flows.borrow().is_empty());
    }
}

#[test]
fn while_auditing_what_answers_a_packet_that_would_fall_is_no_news() {
    let mut node = Node::new(false);
    node.0.audit = true;
    let would = (Action::Audit, Reason::DefaultDeny);
    assert_eq!(node.sees(Arrives, CLIENT, SERVER, tcp(40_000, 80, SYN)), would);
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, tcp(80, 40_000, SYN_ACK)), ANSWER);
    // What a deny rule names has no answer.
    assert_eq!(node.sees(Arrives, SERVER, FOE, tcp(22, 40_000, SYN_ACK)), would);
    node.0.audit = false;
    assert_eq!(node.sees(Arrives, SERVER, CLIENT, tcp(80, 40_000, SYN_ACK)), DENIED);
}
