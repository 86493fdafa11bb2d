//! Peer classes: all addresses, divided into as few classes as the terms of all
//! rules can tell apart, with the terms of each. It walks the prefixes and the
//! known addresses from the outside in; it knows no rules and no ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hostfw_datapath::image::{ELSEWHERE, LOCAL};
use ipnet::IpNet;
use rustc_hash::FxHashMap;

use crate::{
    compile::CompileError,
    encode::Segments,
    entity::Entity,
    identity::{Identity, IdentityId, Kind, Known, PLACELESS},
    node::Options,
    rule_set::{RuleSets, SetId},
    terms::{TermId, TermIndex},
};

/// More classes than this do not fit into a peer word.
const MAX_CLASSES: usize = 1 << 24;

/// All peers, divided.
#[derive(Debug)]
pub(crate) struct PeerClasses {
    pub(crate) classes: Classes,
    /// Peer words of the IPv4 addresses.
    pub(crate) v4: Segments<u32>,
    /// Peer words of the IPv6 addresses.
    pub(crate) v6: Segments<u128>,
    /// The classes of peers that have no address, and of addresses outside that
    /// nothing names.
    pub(crate) placeless: Vec<(Entity, u32)>,
}

/// What the division works on and with.
pub(crate) struct Division<'a> {
    pub(crate) index: &'a TermIndex,
    pub(crate) known: &'a Known,
    pub(crate) options: &'a Options,
    /// Sets of terms.
    pub(crate) sets: &'a mut RuleSets,
}

impl Division<'_> {
    /// Divides all peers.
    pub(crate) fn divide(mut self) -> Result<PeerClasses, CompileError> {
        let mut classes = Classes::default();
        // Each prefix is likely to be a set, and a class, of its own.
        let n_prefixes = self.index.prefixes.len();
        classes.numbers.reserve(n_prefixes);
        self.sets.reserve(2 * n_prefixes);
        let of_identity: Vec<SetId> =
            self.known.identities.iter().map(|one| self.set_of(one)).collect();
        let v4 = self.family(true, &of_identity, &mut classes)?;
        let v6 = self.family(false, &of_identity, &mut classes)?;
        let v4 =
            v4.into_iter().filter_map(|(at, word)| Some((u32::try_from(at).ok()?, word))).collect();
        let mut placeless = Vec::new();
        for entity in PLACELESS {
            let set = self.set_of(&Identity::placeless(entity));
            placeless.push((entity, classes.number(set)?));
        }
        for (entity, is_v4) in [(Entity::WorldIpv4, true), (Entity::WorldIpv6, false)] {
            let set = self.set_of(&Identity::world(is_v4, self.options));
            placeless.push((entity, classes.number(set)?));
        }
        Ok(PeerClasses { classes, v4, v6, placeless })
    }

    fn set_of(&mut self, identity: &Identity) -> SetId {
        self.index.set_of(identity, self.sets)
    }

    /// Walks one family. Prefixes are nested or apart, never crossing, so a
    /// stack holds those around the current one.
    fn family(
        &mut self,
        is_v4: bool,
        of_identity: &[SetId],
        classes: &mut Classes,
    ) -> Result<Segments<u128>, CompileError> {
        let outside = self.set_of(&Identity::world(is_v4, self.options));
        let named_anyway: BTreeSet<TermId> = self.sets.ids(outside).into_iter().collect();
        let mut active = Active::default();
        let mut open: Vec<Open> = Vec::new();
        let mut segments = Vec::new();
        let marks = marks(self.index, self.known, is_v4);
        for marks in marks.chunk_by(|left, right| left.0 == right.0) {
            let Some((prefix, _)) = marks.first() else { continue };
            while let Some(last) = open.pop_if(|last| !last.prefix.contains(prefix)) {
                last.close(open.last(), &mut active, &mut segments);
            }
            let changes = active.apply(marks);
            let mut set = open.last().map_or(outside, |last| last.set);
            for term in changes.gone.iter().filter(|term| !named_anyway.contains(term)) {
                set = self.sets.without(set, *term);
            }
            for term in &changes.come {
                set = self.sets.with(set, *term);
            }
            let mut word = classes.number(set)?;
            if let Some(id) = marks.iter().find_map(|(_, mark)| mark.identity())
                && let (Some(identity), Some(own)) =
                    (self.known.identities.get(id), of_identity.get(id))
            {
                let mut all = *own;
                if identity.has_prefixes(self.options) {
                    all = active.counts.keys().fold(all, |set, term| self.sets.with(set, *term));
                }
                word = classes.number(all)? | flags(identity.kind);
            }
            segments.push((prefix.first, word));
            open.push(Open { prefix: *prefix, set, word, changes });
        }
        while let Some(last) = open.pop() {
            last.close(open.last(), &mut active, &mut segments);
        }
        Ok(normalised(segments))
    }
}

/// What begins and ends at every prefix of a family, in the order of the walk;
/// the whole family and every known address are among them.
fn marks(index: &TermIndex, known: &Known, is_v4: bool) -> Vec<(Prefix, Mark)> {
    let mut marks = vec![(Prefix::whole(is_v4), Mark::Nothing)];
    for (entry, (cidr, except, term)) in (0u32..).zip(&index.prefixes) {
        if matches!(cidr, IpNet::V4(_)) != is_v4
            || except.iter().any(|left_out| left_out.contains(cidr))
        {
            continue;
        }
        marks.push((Prefix::of(*cidr), Mark::Begins { entry, term: *term }));
        for left_out in except.iter().filter(|one| cidr.contains(*one)) {
            marks.push((Prefix::of(*left_out), Mark::Ends { entry, term: *term }));
        }
    }
    for (address, identity) in known.addresses.iter().filter(|(at, _)| at.is_ipv4() == is_v4) {
        marks.push((Prefix::of(IpNet::from(*address)), Mark::Known(*identity)));
    }
    marks.sort_unstable();
    marks
}

/// A prefix of either family. A wider one sorts before those inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix {
    first: u128,
    length: u8,
    /// Bits of an address of the family.
    bits: u8,
}

impl Prefix {
    fn whole(is_v4: bool) -> Self {
        Self { first: 0, length: 0, bits: if is_v4 { 32 } else { 128 } }
    }

    fn of(net: IpNet) -> Self {
        let first = match net.network() {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => u128::from(address),
        };
        Self { first, length: net.prefix_len(), bits: net.max_prefix_len() }
    }

    fn last(&self) -> u128 {
        let inner = u32::from(self.bits - self.length);
        self.first | 1u128.checked_shl(inner).map_or(u128::MAX, |size| size - 1)
    }

    fn contains(&self, other: &Self) -> bool {
        self.first <= other.first && other.last() <= self.last()
    }
}

/// What happens at a prefix. Beginnings come before ends, so that an entry that
/// names a prefix and leaves it out again does not name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Nothing,
    Begins { entry: u32, term: TermId },
    Ends { entry: u32, term: TermId },
    Known(IdentityId),
}

impl Mark {
    fn identity(self) -> Option<IdentityId> {
        match self {
            Self::Known(identity) => Some(identity),
            Self::Nothing | Self::Begins { .. } | Self::Ends { .. } => None,
        }
    }
}

/// The entries in force at the current prefix, and how many of each term.
#[derive(Default)]
struct Active {
    entries: BTreeSet<u32>,
    counts: BTreeMap<TermId, u32>,
}

/// What a prefix changed, to be undone behind it.
#[derive(Default)]
struct Changes {
    begun: Vec<(u32, TermId)>,
    ended: Vec<(u32, TermId)>,
    /// Terms that match here and did not around.
    come: Vec<TermId>,
    /// Terms that matched around and do not here.
    gone: Vec<TermId>,
}

impl Active {
    fn apply(&mut self, marks: &[(Prefix, Mark)]) -> Changes {
        let mut changes = Changes::default();
        for (_, mark) in marks {
            match *mark {
                Mark::Nothing | Mark::Known(_) => {}
                Mark::Begins { entry, term } => {
                    self.entries.insert(entry);
                    changes.begun.push((entry, term));
                    let count = self.counts.entry(term).or_insert(0);
                    if *count == 0 {
                        changes.come.push(term);
                    }
                    *count += 1;
                }
                Mark::Ends { entry, term } => {
                    if self.entries.remove(&entry) {
                        changes.ended.push((entry, term));
                        if self.drop_one(term) {
                            changes.gone.push(term);
                        }
                    }
                }
            }
        }
        // What came and went at one prefix was never there.
        let gone = std::mem::take(&mut changes.gone);
        let (both, gone): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|term| changes.come.contains(term));
        changes.come.retain(|term| !both.contains(term));
        changes.gone = gone;
        changes
    }

    fn undo(&mut self, changes: &Changes) {
        for (entry, term) in &changes.ended {
            self.entries.insert(*entry);
            *self.counts.entry(*term).or_insert(0) += 1;
        }
        for (entry, term) in &changes.begun {
            self.entries.remove(entry);
            self.drop_one(*term);
        }
    }

    /// True when it was the term's last entry.
    fn drop_one(&mut self, term: TermId) -> bool {
        let count = self.counts.entry(term).or_insert(1);
        *count = count.saturating_sub(1);
        let was_last = *count == 0;
        if was_last {
            self.counts.remove(&term);
        }
        was_last
    }
}

/// A prefix around the current one.
struct Open {
    prefix: Prefix,
    set: SetId,
    word: u32,
    changes: Changes,
}

impl Open {
    fn close(self, around: Option<&Self>, active: &mut Active, segments: &mut Segments<u128>) {
        active.undo(&self.changes);
        // Behind the whole family there is nothing.
        if let Some(around) = around {
            let next = self.prefix.last().checked_add(1);
            segments.extend(next.map(|next| (next, around.word)));
        }
    }
}

/// Of several entries for one address the last is right; neighbours with one
/// word become one.
fn normalised(segments: Segments<u128>) -> Segments<u128> {
    let mut result: Segments<u128> = Vec::with_capacity(segments.len());
    for (at, word) in segments {
        if result.last().is_some_and(|(last, _)| *last == at) {
            result.pop();
        }
        if result.last().is_none_or(|(_, last)| *last != word) {
            result.push((at, word));
        }
    }
    result
}

/// What a peer word says beside the class.
pub(crate) fn flags(kind: Kind) -> u32 {
    match kind {
        Kind::Host => LOCAL,
        Kind::RemoteNode | Kind::Pod => ELSEWHERE,
        Kind::Placeless(_) | Kind::Outside { .. } => 0,
    }
}

/// Numbers sets of terms.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// The terms of every class.
    pub(crate) sets: Vec<SetId>,
    numbers: FxHashMap<SetId, u32>,
}

impl Classes {
    pub(crate) fn number(&mut self, set: SetId) -> Result<u32, CompileError> {
        if let Some(number) = self.numbers.get(&set) {
            return Ok(*number);
        }
        if self.sets.len() >= MAX_CLASSES {
            return Err(CompileError::TooManyPeerClasses);
        }
        let number = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(set);
        self.numbers.insert(set, number);
        Ok(number)
    }

    /// Gives every class another number; all of them are given once.
    pub(crate) fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        for (set, class) in &mut self.numbers {
            *class = number(*class);
            let place = usize::try_from(*class).ok().and_then(|at| self.sets.get_mut(at));
            if let Some(place) = place {
                *place = *set;
            }
        }
    }
}
