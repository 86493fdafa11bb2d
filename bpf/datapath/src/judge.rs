//! The decision: policy first, connection table second, sockets third (design
//! section 3), audit last, so that reason and rule survive it.

use crate::{
    Address, FlowKey, Image, Packet, Reason, Tables, Verdict, forward,
    icmp::Kind,
    image::{self, CLASS, ELSEWHERE, HOST, LOCAL, NO_RULE, Question},
    memory::{Ask, Known},
    parse::{self, Carried, Depth, Fragment, Network, Upper, protocol},
    report::{self, Seen},
    verdict::{Action, Answer, Report},
};

/// Which way a packet goes, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Towards this host.
    Ingress = 0,
    /// From this host.
    Egress = 1,
}

/// A verdict, and what tells an observer whether it is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What happens, and why.
    pub verdict: Verdict,
    /// [`report::tag`] of the packet's flow; 0 where there is nothing to report.
    pub tag: u64,
}

/// Judges a packet by an image.
#[inline(always)]
pub fn judge<P: Packet, I: Image, T: Tables>(
    direction: Direction,
    packet: &P,
    image: &I,
    tables: &T,
    audit: bool,
) -> Judged {
    let judged = judge_own(direction, packet, image, tables, audit);
    if forward::concerns(direction, &judged, image) {
        return forward::judge(direction, packet, image, tables, audit);
    }
    judged
}

/// Judges a packet as this host's own; what it forwards passes. The kernel puts
/// both parts together itself, so that its verifier reads each once.
#[inline(always)]
pub fn judge_own<P: Packet, I: Image, T: Tables>(
    direction: Direction,
    packet: &P,
    image: &I,
    tables: &T,
    audit: bool,
) -> Judged {
    let case = Case { image, tables, audit };
    let judged = match direction {
        Direction::Ingress => case.ingress(packet),
        Direction::Egress => case.egress(packet),
    };
    audited(judged, audit)
}

/// A judgement on a node that audits: deny rules stay in force.
#[inline(always)]
pub(crate) fn audited(mut judged: Judged, audit: bool) -> Judged {
    if judged.verdict.action == Action::Drop
        && audit
        && judged.verdict.reason != Reason::ExplicitDeny
    {
        judged.verdict.action = Action::Audit;
    }
    judged
}

/// One packet's surroundings.
pub struct Case<'a, I, T> {
    /// The generation that judges.
    pub image: &'a I,
    /// The state of the host.
    pub tables: &'a T,
    /// True on a node that audits.
    pub audit: bool,
}

impl<I: Image, T: Tables> Case<'_, I, T> {
    #[inline(always)]
    fn ingress<P: Packet>(&self, packet: &P) -> Judged {
        let frame = parse::frame(packet);
        let network = match frame.carried {
            Carried::V4 => parse::v4(packet, frame.offset),
            Carried::V6 => parse::v6(packet, frame.offset),
            Carried::NotIp => return unread(pass(Reason::NotIp)),
            Carried::Tagged => return unread(pass(Reason::Tagged)),
            Carried::Cut => None,
        };
        let subject = image::subject(self.image, HOST, Direction::Ingress);
        let in_force = image::in_force(self.image, subject);
        let Some(network) = network else {
            let verdict =
                if in_force { refuse(Reason::Malformed) } else { pass(Reason::NotEnforced) };
            return unread(verdict);
        };
        let group = network.destination.is_group();
        if !in_force {
            // A socket knows who opened a TCP connection. The answers of other
            // flows must not make them flows of ours, though nobody asks
            // whether they may come in.
            let local = image::peer(self.image, &network.destination) & LOCAL != 0;
            if network.next == protocol::TCP || !local {
                return unread(pass(Reason::NotEnforced));
            }
        } else if !group && !self.is_for_host(packet, &network) {
            return unread(pass(Reason::Transit));
        }
        let upper = match packet.upper(network.start(Depth::Packet)) {
            Ok(upper) => upper,
            Err(_) if !in_force => return unread(pass(Reason::NotEnforced)),
            Err(reason) => {
                return addresses_only(network.destination, network.source, refuse(reason));
            }
        };
        let key = FlowKey::received(&network, &upper);
        let kind = upper.kind;
        let verdict = if matches!(upper.fragment, Fragment::Later) {
            pass(if in_force { Reason::Fragment } else { Reason::NotEnforced })
        } else if !in_force {
            self.admit(packet, &network, &upper);
            pass(Reason::NotEnforced)
        } else if let Some(verdict) = exempt_ingress(kind, &network, group) {
            verdict
        } else {
            self.answer_ingress(packet, &network, &upper, &key, kind)
        };
        judged(verdict, &key)
    }

    /// True for a packet to this host. The hardware address of another device
    /// settles only what the image does not: a program behind this one may
    /// still hand such a frame to the host (host-behaviour clause A3.12).
    #[inline(always)]
    pub(crate) fn is_for_host<P: Packet>(&self, packet: &P, network: &Network) -> bool {
        let word = image::peer(self.image, &network.destination);
        word & LOCAL != 0
            || (word & ELSEWHERE == 0
                && !packet.facts().for_other
                && (!network.source.is_forwarded_for()
                    || self.tables.is_delivered(&network.source, &network.destination)))
    }

    #[inline(always)]
    fn answer_ingress<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
        key: &FlowKey,
        kind: Kind,
    ) -> Verdict {
        let peer = image::peer(self.image, &network.source);
        if peer & LOCAL != 0 && is_forgery(network) {
            return refuse(Reason::Spoofed);
        }
        let (index, answer, rule) = self.ask(Direction::Ingress, peer, upper.protocol, upper.port);
        if answer.allows() {
            let egress = image::subject(self.image, HOST, Direction::Egress);
            // What is translated and forwarded behind this answers from here.
            let is_kept =
                upper.protocol != protocol::TCP && self.image.header(image::AT_FORWARD) != HOST;
            if is_kept || image::in_force(self.image, egress) {
                self.admit(packet, network, upper);
            }
            return allowed(index, answer, rule, upper);
        }
        // Denied so far, unless it answers what this host has started.
        let known = match kind {
            Kind::Error => self.consult(Ask::Related, packet, network, upper),
            Kind::Ordinary | Kind::EchoReply if self.may_be_reply(key, upper) => {
                self.consult(Ask::Reply, packet, network, upper)
            }
            Kind::Ordinary | Kind::EchoReply => Known::Nothing,
            Kind::EchoRequest | Kind::Neighbour | Kind::Essential | Kind::Forbidden => {
                Known::Nothing
            }
        };
        match known {
            Known::Flow if kind == Kind::Error => pass(Reason::Related),
            Known::Flow => pass(Reason::Reply),
            Known::Socket => pass(Reason::Socket),
            Known::Nothing => {
                if self.audit && answer == Answer::DefaultDeny {
                    // The packet comes in; its answer must not be reported too.
                    self.admit(packet, network, upper);
                }
                denied(index, answer, rule)
            }
        }
    }

    /// False for what opens a flow, and where this host has opened none from
    /// that port: what keeps a flood away from the tables.
    #[inline(always)]
    fn may_be_reply(&self, key: &FlowKey, upper: &Upper) -> bool {
        !upper.opens_tcp() && self.tables.has_opened(key)
    }

    /// Keeps the flow of a packet that is let in, so that its answers leave.
    /// TCP needs its first packet only: later ones heal from the socket.
    #[inline(always)]
    fn admit<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) {
        let is_first = upper.protocol != protocol::TCP || upper.opens_tcp();
        if is_first && matches!(upper.kind, Kind::Ordinary | Kind::EchoRequest) {
            let _kept = self.consult(Ask::Admit, packet, network, upper);
        }
    }

    /// Asks what is known of the packet's flow, or has it kept.
    #[inline(always)]
    pub(crate) fn consult<P: Packet>(
        &self,
        ask: Ask,
        packet: &P,
        network: &Network,
        upper: &Upper,
    ) -> Known {
        self.tables.consult(ask, packet, network, upper, self.image, self.audit)
    }

    /// Asks the image about a peer word: verdict index, answer, deciding rule.
    #[inline(always)]
    pub(crate) fn ask(
        &self,
        direction: Direction,
        peer: u32,
        protocol: u8,
        port: u16,
    ) -> (u32, Answer, u32) {
        let peer_class = peer & CLASS;
        let question = Question { subject: HOST, direction, peer_class, protocol, port };
        let index = self.image.find(question);
        let (answer, rule) = self.image.verdict(index);
        (index, answer, rule)
    }

    #[inline(always)]
    fn egress<P: Packet>(&self, packet: &P) -> Judged {
        let frame = parse::frame(packet);
        let network = match frame.carried {
            Carried::V4 => parse::v4(packet, frame.offset),
            Carried::V6 => parse::v6(packet, frame.offset),
            Carried::NotIp => return unread(pass(Reason::NotIp)),
            Carried::Tagged => return unread(pass(Reason::Tagged)),
            Carried::Cut => None,
        };
        let subject = image::subject(self.image, HOST, Direction::Egress);
        let in_force = image::in_force(self.image, subject);
        let forwarded = packet.facts().forwarded;
        let Some(network) = network else {
            return unread(if in_force && !forwarded {
                refuse(Reason::Malformed)
            } else {
                pass(Reason::NotEnforced)
            });
        };
        if forwarded && image::peer(self.image, &network.source) & LOCAL == 0 {
            return unread(pass(Reason::Transit));
        }
        let upper = match packet.upper(network.start(Depth::Packet)) {
            Ok(upper) => upper,
            Err(reason) if in_force && !forwarded => {
                return addresses_only(network.source, network.destination, refuse(reason));
            }
            Err(_) => return unread(pass(Reason::NotEnforced)),
        };
        let key = FlowKey::sent(&network, &upper);
        let verdict = if matches!(upper.fragment, Fragment::Later) {
            pass(Reason::Fragment)
        } else if forwarded {
            // Masqueraded: the sender is not this host, but the answers come here.
            self.open(Ask::OpenForwarded, packet, &network, &upper);
            pass(Reason::Transit)
        } else if !in_force {
            self.open(Ask::Open, packet, &network, &upper);
            pass(Reason::NotEnforced)
        } else {
            self.answer_egress(packet, &network, &upper)
        };
        judged(verdict, &key)
    }

    #[inline(always)]
    fn answer_egress<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) -> Verdict {
        let kind = upper.kind;
        match kind {
            Kind::Neighbour | Kind::Essential => return pass(Reason::Neighbour),
            Kind::Forbidden => return refuse(Reason::ForbiddenIcmp),
            // The host complains only about packets that it was allowed to see.
            Kind::Error => return pass(Reason::Related),
            Kind::Ordinary | Kind::EchoRequest | Kind::EchoReply => {}
        }
        let peer = image::peer(self.image, &network.destination);
        let (index, answer, rule) = self.ask(Direction::Egress, peer, upper.protocol, upper.port);
        if answer.allows() {
            self.open(Ask::Open, packet, network, upper);
            return allowed(index, answer, rule, upper);
        }
        // The identifier of an echo is the same both ways; a request asks.
        if kind != Kind::EchoRequest
            && !upper.opens_tcp()
            && self.consult(Ask::Answer, packet, network, upper) != Known::Nothing
        {
            return pass(Reason::Admitted);
        }
        let verdict = denied(index, answer, rule);
        if self.audit && verdict.reason != Reason::ExplicitDeny {
            // The packet leaves; its answer must find the flow.
            self.open(Ask::Open, packet, network, upper);
        }
        verdict
    }

    /// Keeps the flow of a packet that may open one.
    #[inline(always)]
    fn open<P: Packet>(&self, ask: Ask, packet: &P, network: &Network, upper: &Upper) {
        let may_open = match upper.protocol {
            protocol::TCP => upper.opens_tcp(),
            protocol::ICMP | protocol::ICMPV6 => upper.kind == Kind::EchoRequest,
            _ => true,
        };
        if may_open {
            let _kept = self.consult(ask, packet, network, upper);
        }
    }
}

/// What passes or falls whatever policy says (host-behaviour clause A8.1).
#[inline(always)]
fn exempt_ingress(kind: Kind, network: &Network, group: bool) -> Option<Verdict> {
    match kind {
        Kind::Neighbour if network.hop_limit == 255 => Some(pass(Reason::Neighbour)),
        Kind::Neighbour => Some(refuse(Reason::HopLimit)),
        Kind::Essential => Some(pass(Reason::Neighbour)),
        Kind::Forbidden => Some(refuse(Reason::ForbiddenIcmp)),
        // No error is ever sent to a group, and hosts act on those that are.
        Kind::Ordinary | Kind::EchoRequest | Kind::EchoReply if group => Some(pass(Reason::Group)),
        Kind::Ordinary | Kind::EchoRequest | Kind::EchoReply | Kind::Error => None,
    }
}

/// True when a packet with an own address as its sender cannot have come from
/// this host: what it sends to itself stays on loopback. The kernel refuses
/// such IPv4 packets (martian sources) and lets such IPv6 ones in. A link-local
/// address is this host's on one link and a router's on the next.
#[inline(always)]
pub(crate) fn is_forgery(network: &Network) -> bool {
    network.v6 && network.source.is_forwarded_for()
}

#[inline(always)]
pub(crate) const fn pass(reason: Reason) -> Verdict {
    Verdict { action: Action::Pass, reason, rule: NO_RULE, verdict: 0, report: Report::Nothing }
}

#[inline(always)]
pub(crate) const fn refuse(reason: Reason) -> Verdict {
    Verdict { action: Action::Drop, reason, rule: NO_RULE, verdict: 0, report: Report::Denied }
}

#[inline(always)]
pub(crate) fn allowed(verdict: u32, answer: Answer, rule: u32, upper: &Upper) -> Verdict {
    let reason = if answer == Answer::Allow { Reason::Rule } else { Reason::DefaultAllow };
    // TCP says which packet is the first; of other protocols the observer asks
    // the gate in `report`.
    let first = upper.protocol != protocol::TCP || upper.opens_tcp();
    let report = if first { Report::First } else { Report::Nothing };
    Verdict { action: Action::Pass, reason, rule, verdict, report }
}

#[inline(always)]
pub(crate) fn denied(verdict: u32, answer: Answer, rule: u32) -> Verdict {
    let reason = match answer {
        Answer::Deny => Reason::ExplicitDeny,
        Answer::DefaultDeny => Reason::DefaultDeny,
        Answer::Redirect => Reason::NoProxy,
        Answer::Allow | Answer::DefaultAllow | Answer::Broken => Reason::BrokenImage,
    };
    Verdict { action: Action::Drop, reason, rule, verdict, report: Report::Denied }
}

/// A packet whose addresses were not read, or do not matter.
#[inline(always)]
pub(crate) fn unread(verdict: Verdict) -> Judged {
    judged(verdict, &Seen::NOTHING.flow)
}

/// Refused before the upper layer was read: who sent it is still worth telling.
#[inline(always)]
pub(crate) fn addresses_only(local: Address, remote: Address, verdict: Verdict) -> Judged {
    judged(verdict, &Seen::addresses(local, remote).flow)
}

#[inline(always)]
pub(crate) fn judged(verdict: Verdict, flow: &FlowKey) -> Judged {
    let tag = match verdict.report {
        Report::Nothing => 0,
        Report::First | Report::Denied => report::tag(flow, &verdict),
    };
    Judged { verdict, tag }
}
