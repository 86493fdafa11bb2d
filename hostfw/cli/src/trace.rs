//! `hostfw policy trace`: a real packet, judged by the code that judges in the
//! kernel, over the image that the daemon would load. What it reports is what
//! that code answered; nothing is decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use hostfw_api::{
    ConnectionReport, RuleKind, TraceAction, TraceReport, TraceStep, TracedEnd, TracedRule,
};
use hostfw_datapath::{
    Action, Address, Direction, Reason,
    flow::FlowKey,
    image::{self, AT_N_PEER_CLASSES, AT_N_PORT_CLASSES, CLASS, Image, NO_RULE},
    judge,
    judge::Judged,
    model::{Bytes, Model, Question},
    parse::{TCP_ACK, TCP_SYN, protocol},
    tables::Opener,
    verdict::Answer,
};
use hostfw_policy::{
    Compiled, Rule, ThisNode,
    atlas::{End, Judgement},
    what::What,
};

use crate::{
    Outcome,
    arguments::{Enforcement, Flags, Output, TraceWanted, Tuple, Way},
    failure::Failure,
    offline::Files,
    online::json,
    packet::{self, Wanted},
    render::{self, Page, figures::protocol_and_port},
};

/// Yes when the packet passes.
pub(crate) fn trace(wanted: &TraceWanted, output: Output, page: &Page) -> anyhow::Result<Outcome> {
    let (way, peer, what) = match wanted.tuple()? {
        Tuple::Connection(what) => return connection(wanted, what, output, page),
        Tuple::Packet(way, peer, what) => (way, peer, what),
    };
    let report = report(wanted, way, &peer, what)?;
    let text = match output {
        Output::Text => render::trace::render(&report, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: report.action == TraceAction::Pass })
}

/// Both ends of a connection; yes when both let it pass.
fn connection(
    wanted: &TraceWanted,
    what: What,
    output: Output,
    page: &Page,
) -> anyhow::Result<Outcome> {
    let files = Files::accepted(&wanted.circumstances)?;
    // Labels and addresses are those of the node that is asked.
    let name = wanted.through.as_deref().or(wanted.node.as_deref());
    let node = files.this(name, &wanted.circumstances)?;
    let read = |text: &Option<String>| {
        End::read(text.as_deref().unwrap_or_default(), &files.world, &node)
            .map_err(|error| Failure::Usage(error.to_string()))
    };
    let (from, to) = (read(&wanted.from)?, read(&wanted.to)?);
    let mut atlas = files.atlas(&node, &wanted.circumstances);
    let judged = match &wanted.through {
        None => atlas.judge(&from, &to, what)?,
        Some(through) => atlas.judge_forwarded(through, &from, &to, what)?.to_vec(),
    };
    let is_forwarded = wanted.through.is_some();
    let ends: Vec<TracedEnd> = judged.iter().map(|one| traced_end(one, is_forwarded)).collect();
    let report = ConnectionReport {
        from: from.to_string(),
        to: to.to_string(),
        what: what.to_string(),
        passes: judged.iter().all(Judgement::passes),
        ends,
    };
    let text = match output {
        Output::Text => render::trace::connection(&report, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: report.passes })
}

fn traced_end(judgement: &Judgement, is_forwarded: bool) -> TracedEnd {
    let subject = match (is_forwarded, judgement.direction) {
        (false, _) => judgement.subject.to_string(),
        (true, Direction::Ingress) => format!("what {} forwards, by sender", judgement.node),
        (true, Direction::Egress) => format!("what {} forwards, by destination", judgement.node),
    };
    TracedEnd {
        subject,
        node: judgement.node.clone(),
        direction: match judgement.direction {
            Direction::Ingress => hostfw_api::Direction::Ingress,
            Direction::Egress => hostfw_api::Direction::Egress,
        },
        passes: judgement.passes(),
        answer: judgement.said().to_owned(),
        rule: judgement.rule.as_ref().map(listed),
        also_matching: judgement.also_matching.iter().map(listed).collect(),
        l7: judgement.l7.clone(),
    }
}

fn report(wanted: &TraceWanted, way: Way, peer: &str, what: What) -> anyhow::Result<TraceReport> {
    let files = Files::accepted(&wanted.circumstances)?;
    let name = wanted.node.as_deref().unwrap_or_default();
    let mut node = files.node(name, &wanted.circumstances)?;
    let peer = files.peer(peer)?;
    let (local, stands_in) = local_address(&node, peer);
    if stands_in {
        node.addresses.push(local);
    }
    let compiled = files
        .compile(&node, &wanted.circumstances)
        .with_context(|| format!("compile the policies for {}", node.name))?;
    let case = Case::new((way, what, wanted.flags.unwrap_or(Flags::Syn)), peer, local)?;
    let model = Model::default();
    let words = compiled.words.as_slice();
    let judged = judge(case.direction, &Bytes::ip(&case.packet), &words, &model, false);
    let mut steps = Vec::new();
    if stands_in {
        let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
        let answer = format!("{} has no known {family} address; {local} stands for it", node.name);
        steps.push(step("node", answer));
    }
    let never = wanted.circumstances.enforcement == Enforcement::Never;
    steps.push(step("stage", case.stage()));
    steps.push(step("in force?", case.in_force(&compiled, &node, never)));
    steps.extend(case.asked_of_image(&judged, &words, &node, &files));
    steps.extend(asked_of_host(judged.verdict.reason, &model.take_questions()));
    steps.push(step("verdict", meaning(judged.verdict.reason)));
    let rule = traced(&compiled, judged.verdict.rule);
    Ok(TraceReport {
        node: node.name,
        direction: match case.direction {
            Direction::Ingress => hostfw_api::Direction::Ingress,
            Direction::Egress => hostfw_api::Direction::Egress,
        },
        peer,
        local,
        protocol: case.protocol,
        port: case.port,
        action: match judged.verdict.action {
            Action::Pass => TraceAction::Pass,
            Action::Drop | Action::Audit => TraceAction::Drop,
        },
        reason: judged.verdict.reason.name().to_owned(),
        also_matching: also_matching(&compiled, &judged),
        rule,
        steps,
    })
}

/// The packet of a trace.
struct Case {
    direction: Direction,
    peer: IpAddr,
    protocol: u8,
    port: Option<u16>,
    packet: Vec<u8>,
}

impl Case {
    fn new(
        (way, what, flags): (Way, What, Flags),
        peer: IpAddr,
        local: IpAddr,
    ) -> Result<Self, Failure> {
        let (protocol, port) = match what {
            What::Ping if peer.is_ipv4() => (1, Some(8)),
            What::Ping => (58, Some(128)),
            What::Protocol(1, _) if peer.is_ipv6() => {
                return Err(Failure::Usage("icmp is for IPv4: write icmpv6/TYPE".to_owned()));
            }
            What::Protocol(58, _) if peer.is_ipv4() => {
                return Err(Failure::Usage("icmpv6 is for IPv6: write icmp/TYPE".to_owned()));
            }
            What::Protocol(protocol, port) => (protocol, port),
        };
        let (direction, source, destination) = match way {
            Way::Ingress => (Direction::Ingress, peer, local),
            Way::Egress => (Direction::Egress, local, peer),
        };
        let tcp_flags = match flags {
            Flags::Syn => TCP_SYN,
            Flags::Ack => TCP_ACK,
        };
        let port_or_type = port.unwrap_or(0);
        let wanted = Wanted { source, destination, protocol, port: port_or_type, tcp_flags };
        let packet = packet::build(&wanted)
            .ok_or_else(|| Failure::Usage("both ends must be of one address family".to_owned()))?;
        Ok(Self { direction, peer, protocol, port, packet })
    }

    /// Which addresses the packet has where it is judged.
    fn stage(&self) -> &'static str {
        match self.direction {
            Direction::Ingress => "as it arrives, before any translation (node port, host port)",
            Direction::Egress => "as it leaves, behind any translation",
        }
    }

    /// Whether its direction is in force, and why not.
    fn in_force(&self, compiled: &Compiled, node: &ThisNode, never: bool) -> String {
        let (way, in_force) = match self.direction {
            Direction::Ingress => ("ingress", compiled.in_force(Direction::Ingress)),
            Direction::Egress => ("egress", compiled.in_force(Direction::Egress)),
        };
        match in_force {
            true => format!("{way} is in force on {}", node.name),
            false if never => format!("{way} is not in force: `enforcement: never`"),
            false => format!("{way} is not in force: no rule selects {} there", node.name),
        }
    }

    /// The look-ups in the image, asked again one by one; only as far as the
    /// decision went.
    fn asked_of_image<I: Image>(
        &self,
        judged: &Judged,
        image: &I,
        node: &ThisNode,
        files: &Files,
    ) -> Vec<TraceStep> {
        let mut steps = Vec::new();
        let verdict = &judged.verdict;
        if verdict.verdict == 0 {
            return steps;
        }
        let class = image::peer(image, &Address::from(self.peer)) & CLASS;
        let who = files.who(self.peer, node);
        let n_classes = image.word(AT_N_PEER_CLASSES);
        steps.push(step("peer", format!("{}: {who}; class {class} of {n_classes}", self.peer)));
        let port = self.port.unwrap_or(0);
        let port_class = image::port_class(image, self.protocol, port);
        let n_classes = image.word(AT_N_PORT_CLASSES);
        let what = protocol_and_port(self.protocol, port);
        steps.push(step("service", format!("{what}; class {port_class} of {n_classes}")));
        let answer = match image::verdict(image, verdict.verdict) {
            (answer, NO_RULE) => format!("{}; no rule matches", said(answer)),
            (answer, rule) => format!("{} by rule {rule}", said(answer)),
        };
        steps.push(step("policy", format!("{answer}; verdict {}", verdict.verdict)));
        steps
    }
}

fn said(answer: Answer) -> &'static str {
    match answer {
        Answer::Allow => "allow",
        Answer::Deny => "deny",
        Answer::DefaultDeny => "default deny",
        Answer::DefaultAllow => "default allow",
        Answer::Redirect => "allow through a proxy",
        Answer::Broken => "broken image",
    }
}

/// The first address of the peer's family, or one that stands in for it.
fn local_address(node: &ThisNode, peer: IpAddr) -> (IpAddr, bool) {
    let own = node.addresses.iter().find(|own| own.is_ipv4() == peer.is_ipv4());
    match own {
        Some(own) => (*own, false),
        // Of the ranges for documentation (RFC 5737, RFC 3849): nobody's.
        None if peer.is_ipv4() => (Ipv4Addr::new(203, 0, 113, 254).into(), true),
        None => (Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe).into(), true),
    }
}

/// The questions about the state of the host. A trace has no connections, so
/// the answers are those of a host that has just started.
fn asked_of_host(reason: Reason, questions: &[Question]) -> Vec<TraceStep> {
    let is_allowed = matches!(reason, Reason::Rule | Reason::DefaultAllow);
    let is_kept = |wanted: &FlowKey| {
        questions.iter().any(|one| matches!(one, Question::Remember(_, key, _) if key == wanted))
    };
    // A look before an entry is written asks nothing about the packet.
    let is_look = |one: &Question| matches!(one, Question::Recall(_, key, _) if is_kept(key));
    let told = questions.iter().filter(|one| !is_look(one));
    told.filter_map(|one| {
        // What is allowed is no answer; what counts is whether it needs an entry.
        if let Question::HasOpened(key, opened) = one
            && is_allowed
        {
            let port = protocol_and_port(key.protocol, key.local_port);
            let text = format!("no entry: this host has opened nothing from {port}");
            let only_serves = key.protocol == protocol::TCP && !opened;
            return only_serves.then(|| step("remembered", text));
        }
        question_step(one)
    })
    .collect()
}

fn question_step(question: &Question) -> Option<TraceStep> {
    let (question, answer) = match question {
        Question::HasOpened(key, opened) => {
            let port = protocol_and_port(key.protocol, key.local_port);
            let answer = if *opened { "something" } else { "nothing" };
            ("answer?", format!("this host has opened {answer} from {port}"))
        }
        Question::Recall(..) => ("answer?", "no such entry in the connection table".to_owned()),
        Question::Opener(_, Opener::Nobody) => ("answer?", "no such TCP connection".to_owned()),
        Question::Opener(_, Opener::Host) => ("answer?", "this host opened it".to_owned()),
        Question::Opener(_, Opener::Peer) => ("answer?", "the peer opened it".to_owned()),
        Question::Remember(..) => {
            ("remembered", "an entry in the connection table lets the answers pass".to_owned())
        }
        Question::IsDelivered(..) => return None,
    };
    Some(step(question, answer))
}

/// What a reason says to a person.
fn meaning(reason: Reason) -> String {
    let words = match reason {
        Reason::NoPolicy => "no generation is loaded",
        Reason::NotEnforced => "nothing is enforced in this direction, so everything passes",
        Reason::Rule => "a rule allows it",
        Reason::DefaultAllow => "no rule matches, and every selecting policy has default deny off",
        Reason::NotIp => "not IP: passes whatever policy says",
        Reason::Tagged => "tagged: judged on the device of its VLAN",
        Reason::Transit => "neither from nor for this node",
        Reason::Group => "multicast or broadcast: passes whatever policy says",
        Reason::Neighbour => "the network needs it: passes whatever policy says",
        Reason::Reply => "it answers what this node started",
        Reason::Socket => "it answers what this node started, as its sockets know",
        Reason::Related => "it is an ICMP error about a live flow",
        Reason::Fragment => "a later fragment: worthless without its judged first one",
        Reason::Admitted => "it answers a flow that policy admitted",
        Reason::ExplicitDeny => "a deny rule matches; it beats every allow",
        Reason::DefaultDeny => "no rule allows it",
        Reason::Malformed => "its headers are cut short or contradict themselves",
        Reason::Extensions => "it has more extension headers than are followed",
        Reason::RoutingHeader => "routing headers of type 0 are never accepted",
        Reason::ForbiddenIcmp => "no host should receive this ICMP type",
        Reason::HopLimit => "neighbour discovery must not cross a router",
        Reason::TinyFragment => "a fragment that would rewrite the TCP header",
        Reason::NoProxy => "policy wants a proxy to look into it, and there is none",
        Reason::SourceRoute => "routes that the sender chose are never accepted",
        Reason::Spoofed => "it comes from outside and claims to be from this node",
        Reason::BrokenImage => "the image gave no answer: a defect of hostfw",
    };
    format!("{reason}: {words}")
}

fn also_matching(compiled: &Compiled, judged: &Judged) -> Vec<TracedRule> {
    let matching = compiled.verdicts.of(judged.verdict.verdict);
    let others = matching.into_iter().filter(|id| *id != judged.verdict.rule);
    others.filter_map(|id| traced(compiled, id)).collect()
}

fn traced(compiled: &Compiled, id: u32) -> Option<TracedRule> {
    compiled.rule(id).map(listed)
}

pub(crate) fn listed(rule: &Rule) -> TracedRule {
    TracedRule {
        id: rule.id,
        policy: rule.policy.to_string(),
        path: rule.path.to_string(),
        line: rule.line,
        kind: match rule.kind {
            hostfw_policy::RuleKind::Allow => RuleKind::Allow,
            hostfw_policy::RuleKind::Deny => RuleKind::Deny,
            hostfw_policy::RuleKind::Pass => RuleKind::Pass,
            hostfw_policy::RuleKind::BuiltIn | hostfw_policy::RuleKind::LocalHost => {
                RuleKind::BuiltIn
            }
        },
        summary: rule.summary.to_string(),
    }
}

fn step(question: &str, answer: impl Into<String>) -> TraceStep {
    TraceStep { question: question.to_owned(), answer: answer.into() }
}
