//! What this host forwards for others, where a policy is about that (scope
//! `forward`). A packet is judged as it arrives, before any translation of
//! addresses, and again as it leaves, behind it; both must let it pass. Its
//! sender is asked of the rules for ingress, its destination of those for
//! egress, always with the destination port.
//!
//! Answers pass without a rule of their own. A TCP packet is one when its
//! opposite is admitted and it opens nothing, so a connection needs no entry,
//! whatever its age; other flows are kept as admitted.

use crate::{
    Address, FlowKey, Image, Packet, Reason, Tables, Verdict,
    icmp::Kind,
    image::{self, AT_FORWARD, HOST, LOCAL, NO_RULE, NOT_IN_FORCE, Passage},
    judge::{
        Case, Direction, Judged, addresses_only, allowed, audited, denied, judged, pass, refuse,
        unread,
    },
    memory::{Ask, Known, quoted, quoted_upper},
    parse::{self, Carried, Depth, Fragment, Network, Upper, protocol},
    verdict::Answer,
};

/// True when what a packet is to this host leaves it to the policy about what
/// is forwarded.
#[inline(always)]
pub fn concerns<I: Image>(direction: Direction, judged: &Judged, image: &I) -> bool {
    let reason = judged.verdict.reason;
    // Where ingress is not enforced, nobody looked whom a packet is for.
    let unknown = matches!(reason, Reason::NotEnforced) && matches!(direction, Direction::Ingress);
    (matches!(reason, Reason::Transit) || unknown) && image.header(AT_FORWARD) != HOST
}

/// Judges a packet that [`concerns`] names.
#[inline(always)]
pub fn judge<P: Packet, I: Image, T: Tables>(
    direction: Direction,
    packet: &P,
    image: &I,
    tables: &T,
    audit: bool,
) -> Judged {
    audited(Case { image, tables, audit }.forwarded(direction, packet), audit)
}

impl<I: Image, T: Tables> Case<'_, I, T> {
    #[inline(always)]
    fn forwarded<P: Packet>(&self, direction: Direction, packet: &P) -> Judged {
        if packet.facts().for_other {
            // Taken in by another device on this one, and never forwarded here.
            return unread(pass(Reason::Transit));
        }
        let frame = parse::frame(packet);
        let network = match frame.carried {
            Carried::V4 => parse::v4(packet, frame.offset),
            Carried::V6 => parse::v6(packet, frame.offset),
            Carried::NotIp => return unread(pass(Reason::NotIp)),
            Carried::Tagged => return unread(pass(Reason::Tagged)),
            Carried::Cut => None,
        };
        // Nobody forwards it.
        let Some(network) = network else { return unread(pass(Reason::NotEnforced)) };
        let is_own = matches!(direction, Direction::Ingress)
            && (network.destination.is_group() || self.is_for_host(packet, &network));
        let upper = match packet.upper(network.start(Depth::Packet)) {
            Ok(upper) => upper,
            Err(_) if is_own => return unread(pass(Reason::NotEnforced)),
            Err(reason) => {
                return addresses_only(network.destination, network.source, refuse(reason));
            }
        };
        let key = FlowKey::received(&network, &upper);
        let verdict = if is_own {
            // It may be translated and forwarded; its answer leaves from here,
            // by the entry that was made while nobody asked.
            pass(Reason::NotEnforced)
        } else if matches!(upper.fragment, Fragment::Later) {
            pass(Reason::Fragment)
        } else {
            match upper.kind {
                Kind::Neighbour | Kind::Essential => pass(Reason::Neighbour),
                Kind::Error => self.forwarded_error(packet, &network, &upper),
                Kind::Ordinary | Kind::EchoRequest | Kind::EchoReply | Kind::Forbidden => {
                    // Under an address of ours: masqueraded, or an answer under
                    // the address that its opener sent to.
                    let is_translated = matches!(direction, Direction::Egress)
                        && image::peer(self.image, &network.source) & LOCAL != 0;
                    self.answer_forwarded(packet, &network, &upper, is_translated)
                }
            }
        };
        judged(verdict, &key)
    }

    #[inline(always)]
    fn answer_forwarded<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
        is_translated: bool,
    ) -> Verdict {
        // Who is behind an address of ours was judged where he arrived.
        let sender = if is_translated { None } else { Some(network.source) };
        let Upper { protocol, port, .. } = *upper;
        let passage = Passage { sender, destination: network.destination, protocol, port };
        let (index, answer, rule) = self.ask_forward(&passage);
        if answer.allows() {
            if upper.protocol != protocol::TCP && upper.kind != Kind::EchoReply {
                let _kept = self.consult(Ask::AdmitForwarded, packet, network, upper);
            }
            return allowed(index, answer, rule, upper);
        }
        if self.answers_forwarded(packet, network, upper, is_translated) {
            return pass(Reason::Admitted);
        }
        denied(index, answer, rule)
    }

    /// True when a forwarded packet answers one that was admitted.
    #[inline(always)]
    fn answers_forwarded<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
        is_translated: bool,
    ) -> bool {
        if upper.protocol == protocol::TCP {
            if upper.opens_tcp() {
                return false;
            }
        } else if self.consult(Ask::AnswerForwarded, packet, network, upper) == Known::Nothing {
            return false;
        }
        if is_translated {
            // It was sent to an address of ours, and translated behind it.
            return self.may_receive(&FlowKey::sent(network, upper));
        }
        let port = if matches!(upper.kind, Kind::EchoReply) {
            if network.v6 { 128 } else { 8 }
        } else {
            upper.source_port
        };
        self.admits_forwarded(&network.destination, &network.source, upper.protocol, port)
    }

    /// An ICMP error passes when it quotes a packet that policy admits, or the
    /// answer to one.
    #[inline(always)]
    fn forwarded_error<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) -> Verdict {
        let quoted = quoted(packet, network, upper);
        let inner = quoted.and_then(|quoted| quoted_upper(packet, &quoted));
        let (Some(quoted), Some(inner)) = (quoted, inner) else {
            return refuse(Reason::Malformed);
        };
        let Network { source, destination, .. } = &quoted;
        if self.admits_forwarded(source, destination, inner.protocol, inner.port)
            || self.admits_forwarded(destination, source, inner.protocol, inner.source_port)
        {
            pass(Reason::Related)
        } else {
            refuse(Reason::DefaultDeny)
        }
    }

    #[inline(always)]
    fn admits_forwarded(
        &self,
        source: &Address,
        destination: &Address,
        protocol: u8,
        port: u16,
    ) -> bool {
        let (sender, destination) = (Some(*source), *destination);
        let (_, answer, _) = self.ask_forward(&Passage { sender, destination, protocol, port });
        answer.passes(self.audit)
    }

    /// Asks about a packet: verdict index, answer, deciding rule.
    #[inline(always)]
    fn ask_forward(&self, passage: &Passage) -> (u32, Answer, u32) {
        match self.image.find_forward(passage) {
            NOT_IN_FORCE => (0, Answer::DefaultAllow, NO_RULE),
            index => {
                let (answer, rule) = image::verdict(self.image, index);
                (index, answer, rule)
            }
        }
    }
}
