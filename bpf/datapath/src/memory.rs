//! What is known of flows: asked where the image denies, and written down where
//! an answer must find it. The tables and the kernel's sockets are touched here
//! only.

use crate::{
    FlowEntry, FlowKey, Image, Packet, Tables,
    flow::{FORWARDED, KEPT, Table},
    icmp::Kind,
    image::{self, HOST},
    judge::{Case, Direction},
    parse::{self, Depth, Fragment, Network, Upper, protocol},
    tables::Opener,
};

/// What is asked about the flow of a packet, or done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ask {
    /// Does a packet to this host answer what this host has started?
    Reply = 0,
    /// Is an ICMP error to this host about a live flow of its own?
    Related = 1,
    /// Keep the flow of a packet that is let in.
    Admit = 2,
    /// Keep the flow of a packet that is let through.
    AdmitForwarded = 3,
    /// Does a packet from this host answer one that was let in?
    Answer = 4,
    /// Keep a flow that this host opens.
    Open = 5,
    /// Keep a flow that is opened under an address of this host.
    OpenForwarded = 6,
    /// Does a forwarded packet answer one that was let through?
    AnswerForwarded = 7,
}

impl Ask {
    /// The flow that it is about: for what goes out, the packet's own is that
    /// of a packet which came in.
    #[inline(always)]
    fn flow(self, network: &Network, upper: &Upper) -> FlowKey {
        match self {
            Self::Reply | Self::Related | Self::Admit | Self::AdmitForwarded => {
                FlowKey::received(network, upper)
            }
            Self::Answer | Self::Open | Self::OpenForwarded | Self::AnswerForwarded => {
                FlowKey::sent(network, upper)
            }
        }
    }
}

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Known {
    /// Nothing; also what is said where something was to be kept.
    Nothing = 0,
    /// The flow, from a table.
    Flow = 1,
    /// The connection, from the kernel's own socket.
    Socket = 2,
}

impl Known {
    /// The answer of a number.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Flow,
            2 => Self::Socket,
            _ => Self::Nothing,
        }
    }

    #[inline(always)]
    const fn flow_if(known: bool) -> Self {
        if known { Self::Flow } else { Self::Nothing }
    }
}

/// An entry is rewritten at most this often, in seconds.
pub(crate) const REFRESH_S: u32 = 1;

impl<I: Image, T: Tables> Case<'_, I, T> {
    /// Answers a question from the tables, see [`Tables::consult`].
    #[inline(always)]
    pub fn recollect<P: Packet>(
        &self,
        ask: Ask,
        packet: &P,
        network: &Network,
        upper: &Upper,
    ) -> Known {
        let key = ask.flow(network, upper);
        match ask {
            Ask::Reply => return self.reply(&key, upper),
            Ask::Related => return Known::flow_if(self.is_related(packet, network, upper)),
            Ask::Answer => return Known::flow_if(self.answers_admitted(&key, upper)),
            Ask::AnswerForwarded => return Known::flow_if(self.is_admitted(&key)),
            Ask::Admit => self.note_admitted(&key),
            Ask::AdmitForwarded => self.note(Table::admitted(key.protocol), &key, FORWARDED),
            Ask::Open => self.note_own(&key, 0),
            Ask::OpenForwarded => self.note_own(&key, FORWARDED),
        }
        Known::Nothing
    }

    #[inline(always)]
    fn reply(&self, key: &FlowKey, upper: &Upper) -> Known {
        let now_s = self.tables.now_s();
        let entry = self.tables.recall(Table::Own, key);
        if entry.is_live(upper.protocol, now_s) {
            return Known::flow_if(self.keep_own(key, entry, now_s));
        }
        let tcp = upper.protocol == protocol::TCP;
        if tcp && self.tables.opener(key) == Opener::Host && self.may_send(key) {
            self.write(Table::Own, key, FlowEntry { first_s: now_s, ..FlowEntry::NONE }, now_s);
            return Known::Socket;
        }
        Known::Nothing
    }

    /// Refreshes an entry of our own; false when this generation no longer
    /// lets us send there.
    #[inline(always)]
    fn keep_own(&self, key: &FlowKey, entry: FlowEntry, now_s: u32) -> bool {
        let stale = entry.generation != self.generation();
        if stale && entry.flags & (FORWARDED | KEPT) == 0 && !self.may_send(key) {
            return false;
        }
        if stale || now_s.saturating_sub(entry.last_s) >= REFRESH_S {
            self.write(Table::Own, key, entry, now_s);
        }
        true
    }

    /// An ICMP error passes when it quotes a packet of a live flow of ours
    /// (host-behaviour clause A5.6): from whatever router it comes, and never
    /// on the sender's word alone.
    #[inline(always)]
    fn is_related<P: Packet>(&self, packet: &P, network: &Network, upper: &Upper) -> bool {
        let Some(quoted) = quoted(packet, network, upper) else { return false };
        if quoted.source != network.destination {
            return false;
        }
        let Some(inner) = quoted_upper(packet, &quoted) else { return false };
        let key = FlowKey::sent(&quoted, &inner);
        let tcp = inner.protocol == protocol::TCP;
        if self.is_live(Table::Own, &key) || (tcp && self.tables.opener(&key) != Opener::Nobody) {
            return true;
        }
        // Our answer to a flow that policy admits: it is stored only where egress
        // policy does not let us send by itself. One of TCP without a socket here is
        // translated on its way, and whoever has the connection looks at its numbers.
        matches!(inner.kind, Kind::Ordinary | Kind::EchoReply)
            && self.may_receive(&key)
            && (tcp || self.may_send(&key) || self.is_admitted(&key))
    }

    /// Keeps an inbound flow that is let in, so that its answers leave while
    /// egress is in force, and so that they do not make it a flow of ours.
    #[inline(always)]
    fn note_admitted(&self, key: &FlowKey) {
        if self.only_serves(key) {
            return;
        }
        // Most come to a port from which this host opens nothing.
        if !(self.tables.has_opened(key) && self.is_live(Table::Own, key)) {
            self.note(Table::admitted(key.protocol), key, 0);
        }
    }

    /// Keeps a flow that this host opens. An inbound flow that policy admits
    /// anyway needs no entry, so a flood of requests fills nothing.
    #[inline(always)]
    fn note_own(&self, key: &FlowKey, flags: u32) {
        let opens = matches!(key.protocol, protocol::TCP | protocol::ICMP | protocol::ICMPV6)
            || !self.is_answer(key);
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
        (self.audit || !in_force) && self.is_admitted(key) && !self.is_live(Table::Own, key)
    }

    /// True when an outgoing packet that egress policy denies answers an
    /// inbound flow that ingress policy admits.
    #[inline(always)]
    fn answers_admitted(&self, key: &FlowKey, upper: &Upper) -> bool {
        if self.only_serves(key) {
            return self.may_receive(key);
        }
        let tcp = upper.protocol == protocol::TCP;
        let now_s = self.tables.now_s();
        let table = Table::admitted(upper.protocol);
        let entry = self.tables.recall(table, key);
        let live = entry.is_live(upper.protocol, now_s);
        if live && entry.generation == self.generation() {
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
        self.write(table, key, FlowEntry { first_s, ..FlowEntry::NONE }, now_s);
        true
    }

    #[inline(always)]
    fn is_admitted(&self, key: &FlowKey) -> bool {
        self.is_live(Table::admitted(key.protocol), key)
    }

    #[inline(always)]
    fn is_live(&self, table: Table, key: &FlowKey) -> bool {
        self.tables.recall(table, key).is_live(key.protocol, self.tables.now_s())
    }

    /// Keeps the flow of a packet that may have begun it. One of TCP has: what may
    /// be there of an earlier connection is not looked for.
    #[inline(always)]
    fn note(&self, table: Table, key: &FlowKey, flags: u32) {
        let now_s = self.tables.now_s();
        let is_tcp = key.protocol == protocol::TCP;
        let entry = if is_tcp { FlowEntry::NONE } else { self.tables.recall(table, key) };
        let live = entry.is_live(key.protocol, now_s);
        let stale = entry.generation != self.generation();
        if live && !stale && now_s.saturating_sub(entry.last_s) < REFRESH_S {
            return;
        }
        let first_s = if live { entry.first_s } else { now_s };
        self.write(table, key, FlowEntry { first_s, flags, ..FlowEntry::NONE }, now_s);
    }

    /// Puts an entry down as seen now, under this generation.
    #[inline(always)]
    fn write(&self, table: Table, key: &FlowKey, entry: FlowEntry, now_s: u32) {
        let generation = self.generation();
        self.tables.remember(table, key, FlowEntry { generation, last_s: now_s, ..entry });
    }

    /// True for TCP at a port from which this host has opened nothing: whatever
    /// leaves it, but for what opens a connection, belongs to one that the other end
    /// has opened. So policy alone says whether it answers, and nothing is kept.
    #[inline(always)]
    pub(crate) fn only_serves(&self, key: &FlowKey) -> bool {
        key.protocol == protocol::TCP && !self.tables.has_opened(key)
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
        self.image.answer(direction, &key.remote, key.protocol, port).passes(self.audit)
    }

    #[inline(always)]
    fn generation(&self) -> u32 {
        self.image.header(image::AT_GENERATION)
    }
}

/// The packet that an ICMP error quotes, as far as its headers can be followed.
#[inline(always)]
pub(crate) fn quoted<P: Packet>(packet: &P, network: &Network, upper: &Upper) -> Option<Network> {
    let offset = upper.offset.wrapping_add(8);
    if offset >= parse::MAX_QUOTE_OFFSET {
        return None;
    }
    let quoted = parse::network(packet, offset, network.v6)?;
    // What stands behind the error's own end is padding.
    if quoted.after > network.end {
        return None;
    }
    Some(Network { end: quoted.end.min(network.end), ..quoted })
}

/// Its upper layer; `None` for a later fragment, too.
#[inline(always)]
pub(crate) fn quoted_upper<P: Packet>(packet: &P, quoted: &Network) -> Option<Upper> {
    let inner = packet.upper(quoted.start(Depth::Quoted)).ok()?;
    (!matches!(inner.fragment, Fragment::Later)).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::Known;

    #[test]
    fn an_answer_survives_its_number() {
        for known in [Known::Nothing, Known::Flow, Known::Socket] {
            #[expect(clippy::as_conversions, reason = "the number of a small enum")]
            let number = known as u32;
            assert_eq!(Known::from_number(number), known);
        }
        assert_eq!(Known::from_number(3), Known::Nothing);
    }
}
