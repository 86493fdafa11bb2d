//! Peer classes: all addresses, divided into as few classes as the rules of
//! this host can tell apart, with the row of each. It walks the prefixes of the
//! rules and the known addresses from the outside in; it never looks at a peer
//! and a port together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use hostfw_datapath::{
    Direction,
    image::{ELSEWHERE, LOCAL},
};
use ipnet::IpNet;

use crate::{
    cidr::{PrefixSource, PrefixTerm},
    compile::CompileError,
    encode::Segments,
    identity::{Identity, Kind},
    label::{K8S, Labels},
    node::Options,
    policy::{Peers, PolicyRule},
    rows::{RowId, Rows},
    rule_set::RuleSets,
    services::PortClasses,
    world::World,
};

/// More classes than this do not fit into a peer word.
const MAX_CLASSES: usize = 1 << 24;

/// A rule of this host, as far as peers are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerRule<'a> {
    /// The rule as it was written.
    pub(crate) rule: &'a PolicyRule,
    /// Which of the lists of [`PortClasses::of_list`] it is about; `None` for
    /// every service.
    pub(crate) list: Option<usize>,
}

/// The rows of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowPair {
    pub(crate) ingress: RowId,
    pub(crate) egress: RowId,
}

/// All addresses, divided.
#[derive(Debug)]
pub(crate) struct PeerClasses {
    /// The rows of every class.
    pub(crate) rows: Vec<RowPair>,
    /// Peer words of the IPv4 addresses.
    pub(crate) v4: Segments<u32>,
    /// Peer words of the IPv6 addresses.
    pub(crate) v6: Segments<u128>,
}

/// What the division works on and with.
pub(crate) struct Division<'a> {
    pub(crate) rules: &'a [PeerRule<'a>],
    pub(crate) ports: &'a PortClasses,
    pub(crate) world: &'a World,
    pub(crate) known: &'a BTreeMap<IpAddr, Identity>,
    pub(crate) options: &'a Options,
    pub(crate) sets: &'a mut RuleSets,
    pub(crate) table: &'a mut Rows,
}

impl Division<'_> {
    /// Divides all addresses of both families.
    pub(crate) fn divide(mut self) -> Result<PeerClasses, CompileError> {
        let mut classes = Classes::default();
        let mut identities = Identities::default();
        let v4 = self.family(true, &mut classes, &mut identities)?;
        let v6 = self.family(false, &mut classes, &mut identities)?;
        let v4 =
            v4.into_iter().filter_map(|(at, word)| Some((u32::try_from(at).ok()?, word))).collect();
        Ok(PeerClasses { rows: classes.rows, v4, v6 })
    }

    /// Walks one family. Prefixes are nested or apart, never crossing, so a
    /// stack holds those around the current one.
    fn family(
        &mut self,
        is_v4: bool,
        classes: &mut Classes,
        identities: &mut Identities,
    ) -> Result<Segments<u128>, CompileError> {
        let outside = identities.rows(self, &Identity::world(is_v4))?;
        let mut active = Active::default();
        let mut open: Vec<Open> = Vec::new();
        let mut segments = Vec::new();
        for (prefix, marks) in marks(self.rules, self.world, self.known, is_v4) {
            while let Some(last) = open.pop_if(|last| !last.prefix.contains(&prefix)) {
                last.close(open.last(), &mut active, &mut segments);
            }
            let around = open.last().map_or(outside, |last| last.rows);
            let changes = active.apply(&marks);
            let rows = if changes.gone.is_empty() {
                self.with_rules(around, &changes.come)?
            } else {
                self.with_rules(outside, &active.rules())?
            };
            let mut word = classes.number(rows)?;
            if let Some(identity) = marks.identity {
                let own = identities.rows(self, identity)?;
                let all = if identity.has_prefixes(self.options) {
                    self.with_rules(own, &active.rules())?
                } else {
                    own
                };
                word = classes.number(all)?
                    | match identity.kind {
                        Kind::Host => LOCAL,
                        Kind::RemoteNode | Kind::Pod => ELSEWHERE,
                        Kind::Outside { .. } => 0,
                    };
            }
            segments.push((prefix.first, word));
            open.push(Open { prefix, rows, word, changes });
        }
        while let Some(last) = open.pop() {
            last.close(open.last(), &mut active, &mut segments);
        }
        Ok(normalised(segments))
    }

    fn with_rules(&mut self, rows: RowPair, rules: &[u32]) -> Result<RowPair, CompileError> {
        let mut rows = rows;
        for id in rules {
            let rule = usize::try_from(*id).ok().and_then(|at| self.rules.get(at));
            let Some(PeerRule { rule, list }) = rule else { continue };
            let classes =
                list.map(|list| self.ports.of_list.get(list).map_or(&[][..], Vec::as_slice));
            let row = match rule.direction {
                Direction::Ingress => &mut rows.ingress,
                Direction::Egress => &mut rows.egress,
            };
            *row = self.table.with(self.sets, *row, *id, classes)?;
        }
        Ok(rows)
    }
}

/// What begins and ends at every prefix of a family; the whole family and
/// every known address are among them.
fn marks<'a>(
    rules: &[PeerRule<'_>],
    world: &World,
    known: &'a BTreeMap<IpAddr, Identity>,
    is_v4: bool,
) -> BTreeMap<Prefix, Marks<'a>> {
    let mut marks: BTreeMap<Prefix, Marks<'a>> = BTreeMap::new();
    marks.entry(Prefix::whole(is_v4)).or_default();
    let mut n_terms = 0u32;
    for (id, rule) in (0u32..).zip(rules) {
        let Peers::Prefixes(terms) = &rule.rule.peers else { continue };
        for term in terms {
            for cidr in cidrs(term, world) {
                if matches!(cidr, IpNet::V4(_)) != is_v4
                    || term.except.iter().any(|left_out| left_out.contains(&cidr))
                {
                    continue;
                }
                let mark = (n_terms, id);
                n_terms += 1;
                marks.entry(Prefix::of(cidr)).or_default().begins.push(mark);
                for left_out in term.except.iter().filter(|one| cidr.contains(*one)) {
                    marks.entry(Prefix::of(*left_out)).or_default().ends.push(mark);
                }
            }
        }
    }
    for (address, identity) in known.iter().filter(|(at, _)| at.is_ipv4() == is_v4) {
        marks.entry(Prefix::of(IpNet::from(*address))).or_default().identity = Some(identity);
    }
    marks
}

/// The prefixes that an entry of a list names.
pub(crate) fn cidrs(term: &PrefixTerm, world: &World) -> Vec<IpNet> {
    match &term.from {
        PrefixSource::Cidr(cidr) => vec![*cidr],
        PrefixSource::Group(name) => {
            world.cidr_groups.get(name).map(|group| group.cidrs.clone()).unwrap_or_default()
        }
        PrefixSource::Groups(selector) => world
            .cidr_groups
            .values()
            .filter(|group| {
                let mut labels = Labels::default();
                for (key, value) in &group.labels {
                    labels.insert(K8S, key, value);
                }
                selector.selects(&labels)
            })
            .flat_map(|group| group.cidrs.iter().copied())
            .collect(),
    }
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

/// What changes at one prefix: `(entry, rule)`.
#[derive(Default)]
struct Marks<'a> {
    begins: Vec<(u32, u32)>,
    ends: Vec<(u32, u32)>,
    identity: Option<&'a Identity>,
}

/// The entries in force at the current prefix, and how many of each rule.
#[derive(Default)]
struct Active {
    entries: BTreeSet<u32>,
    counts: BTreeMap<u32, u32>,
}

/// What a prefix changed, to be undone behind it.
#[derive(Default)]
struct Changes {
    begun: Vec<(u32, u32)>,
    ended: Vec<(u32, u32)>,
    /// Rules that match here and did not around.
    come: Vec<u32>,
    /// Rules that matched around and do not here.
    gone: Vec<u32>,
}

impl Active {
    fn apply(&mut self, marks: &Marks<'_>) -> Changes {
        let mut changes = Changes::default();
        for (entry, rule) in &marks.begins {
            self.entries.insert(*entry);
            changes.begun.push((*entry, *rule));
            let count = self.counts.entry(*rule).or_insert(0);
            if *count == 0 {
                changes.come.push(*rule);
            }
            *count += 1;
        }
        for (entry, rule) in &marks.ends {
            if self.entries.remove(entry) {
                changes.ended.push((*entry, *rule));
                if self.drop_one(*rule) {
                    changes.gone.push(*rule);
                }
            }
        }
        changes
    }

    fn undo(&mut self, changes: &Changes) {
        for (entry, rule) in &changes.ended {
            self.entries.insert(*entry);
            *self.counts.entry(*rule).or_insert(0) += 1;
        }
        for (entry, rule) in &changes.begun {
            self.entries.remove(entry);
            self.drop_one(*rule);
        }
    }

    /// True when it was the rule's last entry.
    fn drop_one(&mut self, rule: u32) -> bool {
        let count = self.counts.entry(rule).or_insert(1);
        *count = count.saturating_sub(1);
        let was_last = *count == 0;
        if was_last {
            self.counts.remove(&rule);
        }
        was_last
    }

    fn rules(&self) -> Vec<u32> {
        self.counts.keys().copied().collect()
    }
}

/// A prefix around the current one.
struct Open {
    prefix: Prefix,
    rows: RowPair,
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

/// Numbers pairs of rows.
#[derive(Default)]
struct Classes {
    rows: Vec<RowPair>,
    numbers: HashMap<RowPair, u32>,
}

impl Classes {
    fn number(&mut self, rows: RowPair) -> Result<u32, CompileError> {
        if let Some(number) = self.numbers.get(&rows) {
            return Ok(*number);
        }
        if self.rows.len() >= MAX_CLASSES {
            return Err(CompileError::TooManyPeerClasses);
        }
        let number = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(rows);
        self.numbers.insert(rows, number);
        Ok(number)
    }
}

/// Rows of identities, without the rules that name prefixes. Pods of one
/// deployment have one identity, and those that the same rules name one row.
#[derive(Default)]
struct Identities {
    known: BTreeMap<Identity, RowPair>,
    by_rules: HashMap<Vec<u32>, RowPair>,
}

impl Identities {
    fn rows(
        &mut self,
        division: &mut Division<'_>,
        identity: &Identity,
    ) -> Result<RowPair, CompileError> {
        if let Some(rows) = self.known.get(identity) {
            return Ok(*rows);
        }
        let naming: Vec<u32> = (0u32..)
            .zip(division.rules)
            .filter(|(_, one)| identity.is_named_by(&one.rule.peers))
            .map(|(id, _)| id)
            .collect();
        let rows = match self.by_rules.get(&naming) {
            Some(rows) => *rows,
            None => {
                let empty = division.table.empty()?;
                let empty = RowPair { ingress: empty, egress: empty };
                division.with_rules(empty, &naming)?
            }
        };
        self.by_rules.insert(naming, rows);
        self.known.insert(identity.clone(), rows);
        Ok(rows)
    }
}
