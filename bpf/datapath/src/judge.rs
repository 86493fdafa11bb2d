//! The decision: policy first, connection table second, sockets third (design
//! section 3), audit last, so that reason and rule survive it.

use crate::{
    Address, FlowEntry, FlowKey, Image, Packet, Reason, Tables, Verdict,
    flow::{FORWARDED, KEPT, Table},
    forward,
    icmp::{self, Kind},
    image::{self, CLASS, ELSEWHERE, HOST, LOCAL, NO_RULE, Question},
    parse::{self, Carried, Depth, Fragment, Network, TCP_ACK, TCP_SYN, Upper, protocol},
    tables::Opener,
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

/// A verdict and the packet it is about, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What happens, and why.
    pub verdict: Verdict,
    /// Both ends from the host's side; all zero when the packet was not read
    /// that far.
    pub flow: FlowKey,
    /// Flags of a TCP header, otherwise 0.
    pub tcp_flags: u8,
    /// Type of an ICMP message, otherwise 0.
    pub icmp_type: u8,
}

/// An entry is rewritten at most this often, in seconds.
const REFRESH_S: u32 = 1;

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
pub(crate) struct Case<'a, I, T> {
    pub(crate) image: &'a I,
    pub(crate) tables: &'a T,
    pub(crate) audit: bool,
}

impl<I: Image, T: Tables> Case<'_, I, T> {
    #[inline(always)]
    fn ingress<P: Packet>(&self, packet: &P) -> Judged {
        let subject = image::subject(self.image, HOST, Direction::Ingress);
        if !image::in_force(self.image, subject) {
            self.note_unjudged(packet);
            return unread(pass(Reason::NotEnforced));
        }
        let frame = parse::frame(packet);
        let network = match frame.carried {
            Carried::V4 => parse::v4(packet, frame.offset),
            Carried::V6 => parse::v6(packet, frame.offset),
            Carried::NotIp => return unread(pass(Reason::NotIp)),
            Carried::Tagged => return unread(pass(Reason::Tagged)),
            Carried::Cut => None,
        };
        let Some(network) = network else { return unread(refuse(Reason::Malformed)) };
        let group = network.destination.is_group();
        if !group && !self.is_for_host(packet, &network) {
            return unread(pass(Reason::Transit));
        }
        let upper = match packet.upper(network.start(Depth::Packet)) {
            Ok(upper) => upper,
            Err(reason) => {
                return addresses_only(network.destination, network.source, refuse(reason));
            }
        };
        let key = FlowKey::received(&network, &upper);
        let kind = icmp::kind(&upper);
        let verdict = if matches!(upper.fragment, Fragment::Later) {
            pass(Reason::Fragment)
        } else if let Some(verdict) = exempt_ingress(kind, &network, group) {
            verdict
        } else {
            self.answer_ingress(packet, &network, &upper, &key, kind)
        };
        read(verdict, key, &upper)
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
                upper.protocol != protocol::TCP && self.image.word(image::AT_FORWARD) != HOST;
            if is_kept || image::in_force(self.image, egress) {
                self.note_admitted(key, upper, kind);
            }
            return allowed(index, answer, rule, upper);
        }
        // Denied so far, unless it answers what this host has started.
        let reason = match kind {
            Kind::Error => self.related(packet, network, upper),
            Kind::Ordinary | Kind::EchoReply => self.reply(key, upper),
            Kind::EchoRequest | Kind::Neighbour | Kind::Essential | Kind::Forbidden => None,
        };
        match reason {
            Some(reason) => pass(reason),
            None => {
                if self.audit && answer == Answer::DefaultDeny {
                    // The packet comes in; its answer must not be reported too.
                    self.note_admitted(key, upper, kind);
                }
                denied(index, answer, rule)
            }
        }
    }

    /// Why a packet that policy denies is an answer, or `None`.
    #[inline(always)]
    fn reply(&self, key: &FlowKey, upper: &Upper) -> Option<Reason> {
        let tcp = upper.protocol == protocol::TCP;
        if tcp && upper.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN {
            return None;
        }
        if (tcp || upper.protocol == protocol::UDP) && !self.tables.has_opened(key) {
            return None;
        }
        let now_s = self.tables.now_s();
        let entry = self.tables.recall(Table::Own, key);
        if entry.is_live(upper.protocol, now_s) {
            return if self.keep_own(key, entry, now_s) { Some(Reason::Reply) } else { None };
        }
        if tcp && self.tables.opener(key) == Opener::Host && self.may_send(key) {
            let entry = FlowEntry {
                generation: self.generation(),
                last_s: now_s,
                first_s: now_s,
                flags: 0,
            };
            self.tables.remember(Table::Own, key, entry);
            return Some(Reason::Socket);
        }
        None
    }

    /// Refreshes an entry of our own; false when this generation no longer
    /// lets us send there.
    #[inline(always)]
    fn keep_own(&self, key: &FlowKey, entry: FlowEntry, now_s: u32) -> bool {
        let generation = self.generation();
        let stale = entry.generation != generation;
        if stale && entry.flags & (FORWARDED | KEPT) == 0 && !self.may_send(key) {
            return false;
        }
        if stale || now_s.wrapping_sub(entry.last_s) >= REFRESH_S {
            self.tables.remember(Table::Own, key, FlowEntry { generation, last_s: now_s, ..entry });
        }
        true
    }

    /// True when egress policy lets this host send to the remote end.
    #[inline(always)]
    fn may_send(&self, key: &FlowKey) -> bool {
        self.may(Direction::Egress, key, key.remote_port)
    }

    /// True when ingress policy lets the remote end send to the local port.
    #[inline(always)]
    pub(crate) fn may_receive(&self, key: &FlowKey) -> bool {
        self.may(Direction::Ingress, key, key.local_port)
    }

    #[inline(always)]
    fn may(&self, direction: Direction, key: &FlowKey, port: u16) -> bool {
        let subject = image::subject(self.image, HOST, direction);
        if !image::in_force(self.image, subject) {
            return true;
        }
        // The key of an echo holds the identifier; policy asks for the type.
        let port = match key.protocol {
            protocol::ICMP => 8,
            protocol::ICMPV6 => 128,
            _ => port,
        };
        let answer = self.image.answer(direction, &key.remote, key.protocol, port);
        answer.allows() || (self.audit && answer == Answer::DefaultDeny)
    }

    /// Asks the image about a peer word: verdict index, answer, deciding rule.
    #[inline(always)]
    fn ask(&self, direction: Direction, peer: u32, protocol: u8, port: u16) -> (u32, Answer, u32) {
        let peer_class = peer & CLASS;
        let question = Question { subject: HOST, direction, peer_class, protocol, port };
        let index = self.image.find(question);
        let (answer, rule) = image::verdict(self.image, index);
        (index, answer, rule)
    }

    /// An ICMP error passes when it quotes a packet of a live flow of ours
    /// (host-behaviour clause A5.6): from whatever router it comes, and never
    /// on the sender's word alone.
    #[inline(always)]
    fn related<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) -> Option<Reason> {
        let offset = upper.offset.wrapping_add(8);
        if offset >= parse::MAX_QUOTE_OFFSET {
            return None;
        }
        let quoted =
            if network.v6 { parse::v6(packet, offset)? } else { parse::v4(packet, offset)? };
        // What stands behind the error's own end is padding.
        if quoted.source != network.destination || quoted.after > network.end {
            return None;
        }
        let quoted = Network { end: quoted.end.min(network.end), ..quoted };
        let Ok(inner) = packet.upper(quoted.start(Depth::Quoted)) else { return None };
        if matches!(inner.fragment, Fragment::Later) {
            return None;
        }
        let key = FlowKey::sent(&quoted, &inner);
        let entry = self.tables.recall(Table::Own, &key);
        let live = if entry.is_live(inner.protocol, self.tables.now_s()) {
            true
        } else if inner.protocol == protocol::TCP {
            self.tables.opener(&key) != Opener::Nobody
        } else if matches!(icmp::kind(&inner), Kind::Ordinary | Kind::EchoReply) {
            // Our answer to a flow that policy admits: it is stored only where
            // egress policy does not let us send by itself.
            self.may_receive(&key) && (self.may_send(&key) || self.is_live(Table::Admitted, &key))
        } else {
            false
        };
        if live { Some(Reason::Related) } else { None }
    }

    /// Keeps an inbound flow that is let in, so that its answers leave while
    /// egress is in force, and so that they do not make it a flow of ours. TCP
    /// needs its first packet only: later ones heal from the socket.
    #[inline(always)]
    pub(crate) fn note_admitted(&self, key: &FlowKey, upper: &Upper, kind: Kind) {
        let first =
            upper.protocol != protocol::TCP || upper.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
        if first
            && matches!(kind, Kind::Ordinary | Kind::EchoRequest)
            && !self.is_live(Table::Own, key)
        {
            self.note(Table::Admitted, key, 0);
        }
    }

    /// Keeps an inbound flow while ingress is not in force: nobody asks whether
    /// it may come in, and still its answers must not make it a flow of ours.
    /// TCP needs no entry, its socket knows who opened it.
    #[inline(always)]
    fn note_unjudged<P: Packet>(&self, packet: &P) {
        let frame = parse::frame(packet);
        let network = match frame.carried {
            Carried::V4 => parse::v4(packet, frame.offset),
            Carried::V6 => parse::v6(packet, frame.offset),
            Carried::NotIp | Carried::Tagged | Carried::Cut => None,
        };
        let Some(network) = network else { return };
        if network.next == protocol::TCP
            || image::peer(self.image, &network.destination) & LOCAL == 0
        {
            return;
        }
        let Ok(upper) = packet.upper(network.start(Depth::Packet)) else { return };
        if upper.protocol == protocol::TCP || matches!(upper.fragment, Fragment::Later) {
            return;
        }
        let key = FlowKey::received(&network, &upper);
        self.note_admitted(&key, &upper, icmp::kind(&upper));
    }

    #[inline(always)]
    pub(crate) fn is_live(&self, table: Table, key: &FlowKey) -> bool {
        self.tables.recall(table, key).is_live(key.protocol, self.tables.now_s())
    }

    #[inline(always)]
    pub(crate) fn note(&self, table: Table, key: &FlowKey, flags: u32) {
        let generation = self.generation();
        let now_s = self.tables.now_s();
        let entry = self.tables.recall(table, key);
        let live = entry.is_live(key.protocol, now_s);
        if live && entry.generation == generation && now_s.wrapping_sub(entry.last_s) < REFRESH_S {
            return;
        }
        let first_s = if live { entry.first_s } else { now_s };
        self.tables.remember(table, key, FlowEntry { generation, last_s: now_s, first_s, flags });
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
        let kind = icmp::kind(&upper);
        let verdict = if matches!(upper.fragment, Fragment::Later) {
            pass(Reason::Fragment)
        } else if forwarded {
            // Masqueraded: the sender is not this host, but the answers come here.
            self.note_own(&key, &upper, kind, FORWARDED);
            pass(Reason::Transit)
        } else if !in_force {
            self.note_own(&key, &upper, kind, 0);
            pass(Reason::NotEnforced)
        } else {
            self.answer_egress(&network, &upper, &key, kind)
        };
        read(verdict, key, &upper)
    }

    #[inline(always)]
    fn answer_egress(
        &self,
        network: &Network,
        upper: &Upper,
        key: &FlowKey,
        kind: Kind,
    ) -> Verdict {
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
            self.note_own(key, upper, kind, 0);
            return allowed(index, answer, rule, upper);
        }
        // The identifier of an echo is the same both ways; a request asks.
        if kind != Kind::EchoRequest && self.answers_admitted(key, upper) {
            return pass(Reason::Admitted);
        }
        let verdict = denied(index, answer, rule);
        if self.audit && verdict.reason != Reason::ExplicitDeny {
            // The packet leaves; its answer must find the flow.
            self.note_own(key, upper, kind, 0);
        }
        verdict
    }

    /// Keeps a flow that this host opens. An inbound flow that policy admits
    /// anyway needs no entry, so a flood of requests fills nothing.
    #[inline(always)]
    fn note_own(&self, key: &FlowKey, upper: &Upper, kind: Kind, flags: u32) {
        let opens = match upper.protocol {
            protocol::TCP => upper.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
            protocol::ICMP | protocol::ICMPV6 => kind == Kind::EchoRequest,
            _ => !self.is_answer(key),
        };
        if opens {
            self.note(Table::Own, key, flags);
        }
    }

    /// True when an outgoing packet answers an inbound flow: one that policy
    /// admits, or one that came in because nobody, or only audit, asked.
    #[inline(always)]
    fn is_answer(&self, key: &FlowKey) -> bool {
        let ingress = image::subject(self.image, HOST, Direction::Ingress);
        let in_force = image::in_force(self.image, ingress);
        let Self { image, .. } = self;
        if in_force
            && image.answer(Direction::Ingress, &key.remote, key.protocol, key.local_port).allows()
        {
            return true;
        }
        (self.audit || !in_force)
            && self.is_live(Table::Admitted, key)
            && !self.is_live(Table::Own, key)
    }

    /// True when an outgoing packet that egress policy denies answers an
    /// inbound flow that ingress policy admits.
    #[inline(always)]
    fn answers_admitted(&self, key: &FlowKey, upper: &Upper) -> bool {
        let tcp = upper.protocol == protocol::TCP;
        if tcp && upper.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN {
            return false;
        }
        let now_s = self.tables.now_s();
        let generation = self.generation();
        let entry = self.tables.recall(Table::Admitted, key);
        let live = entry.is_live(upper.protocol, now_s);
        if live && entry.generation == generation {
            return true;
        }
        let own = self.tables.recall(Table::Own, key);
        let is_own = own.is_live(upper.protocol, now_s);
        if is_own && own.flags & KEPT != 0 {
            return true;
        }
        if !live && (!tcp || is_own || self.tables.opener(key) == Opener::Host) {
            return false;
        }
        if !self.may_receive(key) {
            return false;
        }
        let first_s = if live { entry.first_s } else { now_s };
        let entry = FlowEntry { generation, last_s: now_s, first_s, flags: 0 };
        self.tables.remember(Table::Admitted, key, entry);
        true
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        self.image.word(image::AT_GENERATION)
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
        Kind::Ordinary | Kind::EchoRequest | Kind::EchoReply | Kind::Error if group => {
            Some(pass(Reason::Group))
        }
        Kind::Ordinary | Kind::EchoRequest | Kind::EchoReply | Kind::Error => None,
    }
}

/// True when a packet with an own address as its sender cannot have come from
/// this host: what it sends to itself stays on loopback. The kernel refuses
/// such IPv4 packets (martian sources) and lets such IPv6 ones in. A link-local
/// address is this host's on one link and a router's on the next.
#[inline(always)]
fn is_forgery(network: &Network) -> bool {
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
    let first = upper.protocol != protocol::TCP || upper.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN;
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

const NO_ADDRESS: Address = Address { high: 0, low: 0 };

/// Both ends unknown.
const NO_FLOW: FlowKey = FlowKey {
    local: NO_ADDRESS,
    remote: NO_ADDRESS,
    local_port: 0,
    remote_port: 0,
    protocol: 0,
    zero: [0; 3],
};

#[inline(always)]
pub(crate) const fn unread(verdict: Verdict) -> Judged {
    Judged { verdict, flow: NO_FLOW, tcp_flags: 0, icmp_type: 0 }
}

/// Refused before the upper layer was read: who sent it is still worth telling.
#[inline(always)]
pub(crate) const fn addresses_only(local: Address, remote: Address, verdict: Verdict) -> Judged {
    let flow = FlowKey { local, remote, ..NO_FLOW };
    Judged { verdict, flow, tcp_flags: 0, icmp_type: 0 }
}

#[inline(always)]
pub(crate) fn read(verdict: Verdict, flow: FlowKey, upper: &Upper) -> Judged {
    let icmp = matches!(upper.protocol, protocol::ICMP | protocol::ICMPV6);
    let icmp_type = if icmp { u8::try_from(upper.port).unwrap_or(0) } else { 0 };
    Judged { verdict, flow, tcp_flags: upper.tcp_flags, icmp_type }
}
