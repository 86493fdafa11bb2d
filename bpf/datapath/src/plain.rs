//! The short way for the packets that nearly all traffic is made of: TCP and UDP
//! right behind an IP header, where the image alone decides or an entry of a
//! connection table is fresh. It asks what [`crate::judge`] asks, in the same
//! order and with the same functions, changes nothing, and leaves every corner
//! to it: whatever is settled here would be settled there alike. Small enough to
//! stay in a processor's nearest cache.

use crate::{
    Address, FlowKey, Image, Packet, Reason, Tables, Verdict,
    flow::Table,
    image::{self, HOST, LOCAL},
    judge::{Case, Direction, allowed, denied, is_forgery, pass},
    memory::REFRESH_S,
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
        match self.direction {
            Direction::Ingress => FlowKey::received(&self.network, &self.upper),
            Direction::Egress => FlowKey::sent(&self.network, &self.upper),
        }
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
        Direction::Ingress => case.plain_ingress(&network, &upper)?,
        Direction::Egress if packet.facts().forwarded => return None,
        Direction::Egress => case.plain_egress(&network, &upper)?,
    };
    Some(Plain { verdict, network, upper, direction })
}

impl<I: Image, T: Tables> Case<'_, I, T> {
    #[inline(always)]
    fn plain_ingress(&self, network: &Network, upper: &Upper) -> Option<Verdict> {
        let Self { image, .. } = self;
        if !self.in_force(Direction::Ingress) || !self.is_surely_own(&network.destination) {
            return None;
        }
        let peer = image::peer(*image, &network.source);
        if peer & LOCAL != 0 && is_forgery(network) {
            return None;
        }
        let (index, answer, rule) = self.ask(Direction::Ingress, peer, upper.protocol, upper.port);
        let opens_tcp = upper.opens_tcp();
        let is_allowed = answer.allows();
        let table = if is_allowed {
            // Its answers must leave, too.
            let is_kept = match upper.protocol {
                protocol::TCP => opens_tcp && self.in_force(Direction::Egress),
                _ => image.header(image::AT_FORWARD) != HOST || self.in_force(Direction::Egress),
            };
            if !is_kept {
                return Some(allowed(index, answer, rule, upper));
            }
            Table::admitted(upper.protocol)
        } else if opens_tcp || !self.tables.has_opened(&FlowKey::received(network, upper)) {
            return if self.audit { None } else { Some(denied(index, answer, rule)) };
        } else {
            Table::Own
        };
        match (self.find(table, &FlowKey::received(network, upper)), is_allowed) {
            (Found::Fresh, true) => Some(allowed(index, answer, rule, upper)),
            (Found::Fresh, false) => Some(pass(Reason::Reply)),
            // TCP may still have a socket.
            (Found::Nothing, false) if upper.protocol == protocol::UDP && !self.audit => {
                Some(denied(index, answer, rule))
            }
            (Found::Nothing | Found::Stale | Found::Before, _) => None,
        }
    }

    /// True for an address of this host, and of nobody else.
    #[inline(always)]
    fn is_surely_own(&self, destination: &Address) -> bool {
        image::is_listed_own(self.image, destination)
            || (image::peer(self.image, destination) & LOCAL != 0 && !destination.is_group())
    }

    #[inline(always)]
    fn plain_egress(&self, network: &Network, upper: &Upper) -> Option<Verdict> {
        if !self.in_force(Direction::Egress) {
            return if self.opens_nothing(network, upper) {
                Some(pass(Reason::NotEnforced))
            } else {
                None
            };
        }
        let peer = image::peer(self.image, &network.destination);
        let (index, answer, rule) = self.ask(Direction::Egress, peer, upper.protocol, upper.port);
        if answer.allows() {
            return if self.opens_nothing(network, upper) {
                Some(allowed(index, answer, rule, upper))
            } else {
                None
            };
        }
        let table = Table::admitted(upper.protocol);
        // Who answers does not write: TCP would be judged at length a second
        // after it was opened, and from then on.
        let is_answer = !upper.opens_tcp()
            && matches!(
                self.find(table, &FlowKey::sent(network, upper)),
                Found::Fresh | Found::Stale
            );
        if is_answer { Some(pass(Reason::Admitted)) } else { None }
    }

    /// True where a policy about this host is in force.
    #[inline(always)]
    fn in_force(&self, direction: Direction) -> bool {
        image::in_force(self.image, image::subject(self.image, HOST, direction))
    }

    /// True for a packet from this host that leaves nothing in a table: TCP that
    /// is under way, the answer to what policy admits, a flow that is known.
    #[inline(always)]
    fn opens_nothing(&self, network: &Network, upper: &Upper) -> bool {
        let Upper { protocol, source_port, .. } = *upper;
        if protocol == protocol::TCP {
            return !upper.opens_tcp();
        }
        let remote = &network.destination;
        (self.in_force(Direction::Ingress)
            && self.image.answer(Direction::Ingress, remote, protocol, source_port).allows())
            || matches!(self.find(Table::Own, &FlowKey::sent(network, upper)), Found::Fresh)
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
        } else if now_s.wrapping_sub(entry.last_s) < REFRESH_S {
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
