//! The outside of the data path in plain memory: for tests, fuzzing and the
//! offline trace. The tables behave like the kernel's, without eviction.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use zerocopy::FromBytes;

use crate::{
    Address, Direction, Facts, Image, Packet, Tables,
    flow::{FlowEntry, FlowKey, Table},
    packet::Layer,
    parse::protocol,
    plain::{self, Plain},
    tables::Opener,
};

/// A packet in memory.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    /// The packet from its first header on.
    pub bytes: &'a [u8],
    /// What the kernel would know beside them.
    pub facts: Facts,
}

impl<'a> Bytes<'a> {
    /// A frame as an Ethernet device sees it.
    pub const fn ethernet(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            facts: Facts { layer: Layer::Ethernet, vlan: 0, forwarded: false, for_other: false },
        }
    }

    /// A packet as a device without link layer sees it.
    pub const fn ip(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            facts: Facts { layer: Layer::Ip, vlan: 0, forwarded: false, for_other: false },
        }
    }
}

impl Packet for Bytes<'_> {
    fn facts(&self) -> Facts {
        self.facts
    }

    fn read<H: FromBytes + Copy>(&self, offset: u32) -> Option<H> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        H::read_from_prefix(rest).ok().map(|(header, _)| header)
    }
}

/// A question that a decision asked, with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Has this host opened anything from the flow's local port?
    HasOpened(FlowKey, bool),
    /// Is the flow in a connection table?
    Recall(Table, FlowKey, FlowEntry),
    /// Put into a connection table.
    Remember(Table, FlowKey, FlowEntry),
    /// Who opened the TCP connection?
    Opener(FlowKey, Opener),
    /// Would the host itself receive it?
    IsDelivered(Address, bool),
}

/// Tables in memory. Every question is written down in order.
#[derive(Clone, Debug)]
pub struct Model {
    /// The clock, in seconds; never 0.
    pub now_s: Cell<u32>,
    /// True where the host forwards: an address that the image does not know
    /// is then its own only if `delivered` names it.
    pub forwarding: bool,
    /// See `forwarding`.
    pub delivered: BTreeSet<Address>,
    /// TCP connections by their flow.
    pub sockets: BTreeMap<FlowKey, Opener>,
    /// The connection tables.
    pub flows: RefCell<BTreeMap<(Table, FlowKey), FlowEntry>>,
    /// Local ports from which something was opened, by protocol.
    pub opened: RefCell<BTreeSet<(u8, u16)>>,
    /// What was asked since the list was last taken.
    pub asked: RefCell<Vec<Question>>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            now_s: Cell::new(1_000),
            forwarding: false,
            delivered: BTreeSet::new(),
            sockets: BTreeMap::new(),
            flows: RefCell::default(),
            opened: RefCell::default(),
            asked: RefCell::default(),
        }
    }
}

impl Model {
    /// The questions since the last call.
    pub fn take_questions(&self) -> Vec<Question> {
        self.asked.take()
    }

    /// What the short way says of a packet, and the model as it leaves it; this
    /// one stays as it is.
    pub fn short_way<P: Packet, I: Image>(
        &self,
        direction: Direction,
        packet: &P,
        image: &I,
        audit: bool,
    ) -> Option<(Plain, Self)> {
        let model = self.clone();
        let settled = plain::judge::<false, _, _, _>(direction, packet, image, &model, audit)
            .or_else(|| plain::judge::<true, _, _, _>(direction, packet, image, &model, audit));
        settled.map(|plain| (plain, model))
    }

    fn wrote(&self, question: Question) {
        self.asked.borrow_mut().push(question);
    }
}

impl Tables for Model {
    fn now_s(&self) -> u32 {
        self.now_s.get()
    }

    fn has_opened(&self, key: &FlowKey) -> bool {
        if !matches!(key.protocol, protocol::TCP | protocol::UDP) {
            return true;
        }
        let answer = self.opened.borrow().contains(&(key.protocol, key.local_port));
        self.wrote(Question::HasOpened(*key, answer));
        answer
    }

    fn recall(&self, table: Table, key: &FlowKey) -> FlowEntry {
        let entry = self.flows.borrow().get(&(table, *key)).copied().unwrap_or(FlowEntry::NONE);
        self.wrote(Question::Recall(table, *key, entry));
        entry
    }

    fn remember(&self, table: Table, key: &FlowKey, entry: FlowEntry) {
        self.flows.borrow_mut().insert((table, *key), entry);
        if table == Table::Own && matches!(key.protocol, protocol::TCP | protocol::UDP) {
            self.opened.borrow_mut().insert((key.protocol, key.local_port));
        }
        self.wrote(Question::Remember(table, *key, entry));
    }

    fn opener(&self, key: &FlowKey) -> Opener {
        let answer = self.sockets.get(key).copied().unwrap_or(Opener::Nobody);
        self.wrote(Question::Opener(*key, answer));
        answer
    }

    fn is_delivered(&self, _source: &Address, destination: &Address) -> bool {
        let answer = !self.forwarding || self.delivered.contains(destination);
        self.wrote(Question::IsDelivered(*destination, answer));
        answer
    }
}
