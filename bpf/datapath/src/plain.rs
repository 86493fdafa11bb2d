//! The short way for the packets that nearly all traffic is made of: TCP and UDP
//! right behind an IP header, to an address of this host or from it. It asks what
//! [`crate::judge`] asks, in the same order and with the same functions, and looks
//! itself for the fresh entry that most flows have; whatever is settled here would
//! be settled there alike. Every other packet is left to it. Small enough to stay
//! in a processor's nearest cache.

use core::hint::cold_path;

use crate::{
    Address, FlowKey, Image, Packet, Reason, Tables, Verdict,
    flow::Table,
    image::{self, HOST, LOCAL},
    judge::{Case, Direction, allowed, denied, is_forgery, pass},
    memory::{Ask, Known, REFRESH_S},
    parse::{self, Network, Upper, protocol},
};

/// A judgement, and the packet that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// What happens, and why.
    pub verdict: Verdict,
    network: Network,
    upper: Upper,
    direction: Direction,
}

impl Plain {
    /// Whose packet it is, for whoever is told.
    #[inline(always)]
    pub fn flow(&self) -> FlowKey {
        FlowKey::plain(self.direction, &self.network, &self.upper)
    }
}

/// Judges a packet of a family if it is plain; `None` leaves it to
/// [`crate::judge`].
#[inline(always)]
pub fn judge<const V6: bool, P: Packet, I: Image, T: Tables>(
    direction: Direction,
    packet: &P,
    image: &I,
    tables: &T,
    audit: bool,
) -> Option<Plain> {
    let (network, upper) = parse::plain::<V6, P>(packet)?;
    let case = Case { image, tables, audit };
    let verdict = match direction {
        Direction::Ingress => case.plain_ingress(packet, &network, &upper)?,
        Direction::Egress if packet.facts().forwarded => return None,
        Direction::Egress => case.plain_egress(packet, &network, &upper)?,
    };
    Some(Plain { verdict, network, upper, direction })
}

impl<I: Image, T: Tables> Case<'_, I, T> {
    #[inline(always)]
    fn plain_ingress<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
    ) -> Option<Verdict> {
        let Self { image, .. } = self;
        let is_tcp = upper.protocol == protocol::TCP;
        let in_force = self.in_force(Direction::Ingress);
        if !self.is_surely_own(&network.destination) {
            cold_path();
            return None;
        }
        if !in_force {
            cold_path();
            // A policy about forwarding may have a word for it.
            if image.header(image::AT_FORWARD) != HOST {
                return None;
            }
            // Who opened a connection is what its socket knows.
            if !is_tcp {
                self.keep_let_in(packet, network, upper);
            }
            return Some(pass(Reason::NotEnforced));
        }
        let peer = image::peer(*image, &network.source);
        if peer & LOCAL != 0 && is_forgery(network) {
            cold_path();
            return None;
        }
        let (index, answer, rule) = self.ask(Direction::Ingress, peer, upper.protocol, upper.port);
        let opens_tcp = upper.opens_tcp();
        if answer.allows() {
            // Its answers must leave, too.
            let is_kept = if is_tcp {
                opens_tcp
                    && self.in_force(Direction::Egress)
                    && !self.only_serves(&FlowKey::plain(Direction::Ingress, network, upper))
            } else {
                image.header(image::AT_FORWARD) != HOST || self.in_force(Direction::Egress)
            };
            if is_kept {
                cold_path();
                self.keep_let_in(packet, network, upper);
            }
            return Some(allowed(index, answer, rule, upper));
        }
        if !opens_tcp {
            let flow = FlowKey::plain(Direction::Ingress, network, upper);
            if self.tables.has_opened(&flow) {
                match self.reply_to_own(packet, network, upper, &flow) {
                    Known::Flow => return Some(pass(Reason::Reply)),
                    Known::Socket => return Some(pass(Reason::Socket)),
                    Known::Nothing => {}
                }
            }
        }
        // What is only audited is kept.
        if self.audit { None } else { Some(denied(index, answer, rule)) }
    }

    /// Keeps the flow of a packet that is let in.
    #[inline(always)]
    fn keep_let_in<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) {
        // A connection is opened once: its entry is not there yet.
        let is_fresh = !upper.opens_tcp()
            && matches!(
                self.find(Table::Admitted, &FlowKey::plain(Direction::Ingress, network, upper)),
                Found::Fresh
            );
        if !is_fresh {
            let _kept = self.consult(Ask::Admit, packet, network, upper);
        }
    }

    /// What is known of a packet that policy does not let in.
    #[inline(always)]
    fn reply_to_own<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
        flow: &FlowKey,
    ) -> Known {
        match self.find(Table::Own, flow) {
            Found::Fresh => Known::Flow,
            // TCP may still have a socket.
            Found::Nothing if upper.protocol == protocol::UDP => Known::Nothing,
            Found::Nothing | Found::Before | Found::Stale => {
                self.consult(Ask::Reply, packet, network, upper)
            }
        }
    }

    /// True for an address of this host, and of nobody else.
    #[inline(always)]
    fn is_surely_own(&self, destination: &Address) -> bool {
        if image::is_listed_own(self.image, destination) {
            return true;
        }
        cold_path();
        self.image.peer_aside(destination) & LOCAL != 0 && !destination.is_group()
    }

    #[inline(always)]
    fn plain_egress<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
    ) -> Option<Verdict> {
        if !self.in_force(Direction::Egress) {
            self.keep_opened(packet, network, upper);
            return Some(pass(Reason::NotEnforced));
        }
        let peer = image::peer(self.image, &network.destination);
        let (index, answer, rule) = self.ask(Direction::Egress, peer, upper.protocol, upper.port);
        if answer.allows() {
            self.keep_opened(packet, network, upper);
            return Some(allowed(index, answer, rule, upper));
        }
        if !upper.opens_tcp() && self.is_answer_to_admitted(packet, network, upper, peer) {
            return Some(pass(Reason::Admitted));
        }
        // What is only audited is kept.
        if self.audit { None } else { Some(denied(index, answer, rule)) }
    }

    /// Whether a packet from this host to a peer answers what was let in.
    #[inline(always)]
    fn is_answer_to_admitted<P: Packet>(
        &self,
        packet: &P,
        network: &Network,
        upper: &Upper,
        peer: u32,
    ) -> bool {
        let flow = FlowKey::plain(Direction::Egress, network, upper);
        if self.only_serves(&flow) {
            return !self.in_force(Direction::Ingress) || {
                let port = upper.source_port;
                let (_, answer, _) = self.ask(Direction::Ingress, peer, upper.protocol, port);
                answer.passes(self.audit)
            };
        }
        match self.find(Table::admitted(upper.protocol), &flow) {
            // Who answers does not write, so the entry need not be new.
            Found::Fresh | Found::Stale => true,
            Found::Nothing | Found::Before => {
                self.consult(Ask::Answer, packet, network, upper) != Known::Nothing
            }
        }
    }

    /// True where a policy about this host is in force.
    #[inline(always)]
    fn in_force(&self, direction: Direction) -> bool {
        image::in_force(self.image, image::subject(self.image, HOST, direction))
    }

    /// Keeps the flow of a packet from this host that may open one: not of TCP
    /// that is under way, nor of the answer to what policy admits.
    #[inline(always)]
    fn keep_opened<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) {
        let Upper { protocol, source_port, .. } = *upper;
        let is_known = if protocol == protocol::TCP {
            !upper.opens_tcp()
        } else {
            let remote = &network.destination;
            (self.in_force(Direction::Ingress)
                && self.image.answer(Direction::Ingress, remote, protocol, source_port).allows())
                || matches!(
                    self.find(Table::Own, &FlowKey::plain(Direction::Egress, network, upper)),
                    Found::Fresh
                )
        };
        if !is_known {
            cold_path();
            let _kept = self.consult(Ask::Open, packet, network, upper);
        }
    }

    /// What a table holds of a flow.
    #[inline(always)]
    fn find(&self, table: Table, flow: &FlowKey) -> Found {
        let entry = self.tables.recall(table, flow);
        let now_s = self.tables.now_s();
        if !entry.is_live(flow.protocol, now_s) {
            Found::Nothing
        } else if entry.generation != self.image.header(image::AT_GENERATION) {
            Found::Before
        } else if now_s.saturating_sub(entry.last_s) < REFRESH_S {
            Found::Fresh
        } else {
            Found::Stale
        }
    }
}

/// What a table holds of a flow.
enum Found {
    /// Nothing that counts.
    Nothing,
    /// An entry that an earlier generation has made.
    Before,
    /// An entry of this generation, to be written again by whoever keeps it.
    Stale,
    /// An entry of this generation, written not long ago.
    Fresh,
}
