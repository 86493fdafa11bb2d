//! What a change lets in and shuts out: two images compared as wholes, not by
//! sampled packets. Addresses and services are divided so finely that neither
//! image tells those of one cell apart, and every cell is asked once.

use std::collections::BTreeMap;

use hostfw_datapath::{
    Direction, Image as _,
    image::{
        self, AT_PROTOCOLS, AT_V4, AT_V6, CLASS, NO_RULE, NODE_CHILDREN, POINTER, PORTS, Question,
        TYPES, TrieNode, V4_BITS,
    },
    verdict::Answer,
};

use crate::{
    compiled::{Compiled, SubjectName},
    encode::trie::{MAPPED, low_bits},
    entity::Entity,
    ports::Service,
};

/// What changes for some peers and services of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose policy.
    pub subject: SubjectName,
    /// The direction.
    pub direction: Direction,
    /// What became of it, and by which rule of the old set.
    pub before: Fate,
    /// What becomes of it, and by which rule of the new set.
    pub after: Fate,
    /// The other ends.
    pub peers: Peers,
    /// What is concerned, ascending.
    pub services: Vec<Service>,
}

/// What becomes of a connection, and by which rule where one decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// What becomes of it.
    pub outcome: Outcome,
    /// The id of the deciding rule.
    pub rule: Option<u32>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It passes.
    Pass,
    /// It passes through a proxy.
    Redirect,
    /// It does not pass.
    Deny,
}

/// Peers as ranges of addresses, ends included, and roles without addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// IPv4 addresses, ascending.
    pub v4: Vec<(u32, u32)>,
    /// IPv6 addresses, ascending.
    pub v6: Vec<(u128, u128)>,
    /// Roles.
    pub entities: Vec<Entity>,
}

/// Everything that is not as it was, for every subject of either image.
pub fn diff(old: &Compiled, new: &Compiled) -> Vec<Change> {
    let cells = Cells::of(old, new);
    let mut names: Vec<&SubjectName> =
        old.subjects.iter().chain(&new.subjects).map(|subject| &subject.name).collect();
    names.sort_unstable();
    names.dedup();
    let mut changes = Vec::new();
    for name in names {
        for direction in [Direction::Ingress, Direction::Egress] {
            let sides = [Side::of(old, name, direction), Side::of(new, name, direction)];
            cells.compare(name, direction, &sides, &mut changes);
        }
    }
    changes
}

/// The classes that both images have for something.
type Pair = (u32, u32);

/// Addresses and services by the classes that they have in both images.
struct Cells {
    peers: BTreeMap<Pair, Peers>,
    services: BTreeMap<Pair, Vec<Service>>,
}

/// One image, asked about one subject and direction.
struct Side<'c> {
    words: &'c [u32],
    /// The subject's number; `None` where the image does not know it.
    subject: Option<u32>,
    in_force: bool,
    direction: Direction,
}

impl<'c> Side<'c> {
    fn of(compiled: &'c Compiled, name: &SubjectName, direction: Direction) -> Self {
        let subject = compiled.subject(name);
        let words = compiled.words.as_slice();
        let in_force = subject.is_some_and(|number| {
            image::in_force(&words, image::subject(&words, number, direction))
        });
        Self { words, subject, in_force, direction }
    }

    fn fate(&self, peer_class: u32, protocol: u8, port: u16) -> Fate {
        let (Some(subject), true) = (self.subject, self.in_force) else {
            return Fate { outcome: Outcome::Pass, rule: None };
        };
        let direction = self.direction;
        let question = Question { subject, direction, peer_class, protocol, port };
        let (answer, rule) = image::verdict(&self.words, self.words.find(question));
        let outcome = match answer {
            Answer::Allow | Answer::DefaultAllow => Outcome::Pass,
            Answer::Redirect => Outcome::Redirect,
            Answer::Deny | Answer::DefaultDeny | Answer::Broken => Outcome::Deny,
        };
        Fate { outcome, rule: (rule != NO_RULE).then_some(rule) }
    }
}

impl Cells {
    fn of(old: &Compiled, new: &Compiled) -> Self {
        let mut peers: BTreeMap<Pair, Peers> = BTreeMap::new();
        let v4 = [old, new].map(|one| segments_v4(&one.words));
        for (first, last, pair) in overlaid(&v4[0], &v4[1], u32::MAX) {
            peers.entry(pair).or_default().v4.push((first, last));
        }
        let v6 = [old, new].map(|one| segments_v6(&one.words));
        for (first, last, pair) in overlaid(&v6[0], &v6[1], u128::MAX) {
            peers.entry(pair).or_default().v6.push((first, last));
        }
        for (entity, class) in &old.placeless {
            let other = new.class_of(*entity);
            // The world has addresses, which are compared already.
            if !matches!(entity, Entity::WorldIpv4 | Entity::WorldIpv6)
                && let Some(other) = other
            {
                peers.entry((*class, other)).or_default().entities.push(*entity);
            }
        }
        Self { peers, services: services(&old.words, &new.words) }
    }

    fn compare(
        &self,
        name: &SubjectName,
        direction: Direction,
        [old, new]: &[Side<'_>; 2],
        changes: &mut Vec<Change>,
    ) {
        if !old.in_force && !new.in_force {
            return;
        }
        // Peers for whom the same changes are put together.
        let mut alike: BTreeMap<Vec<(Fate, Fate, Vec<Service>)>, Peers> = BTreeMap::new();
        for (classes, peers) in &self.peers {
            let mut different: BTreeMap<(Fate, Fate), Vec<Service>> = BTreeMap::new();
            for services in self.services.values() {
                let Some(sample) = services.first() else { continue };
                let before = old.fate(classes.0, sample.protocol, sample.first);
                let after = new.fate(classes.1, sample.protocol, sample.first);
                if before.outcome != after.outcome {
                    different.entry((before, after)).or_default().extend(services);
                }
            }
            if !different.is_empty() {
                let key = different
                    .into_iter()
                    .map(|((before, after), services)| (before, after, joined(services)))
                    .collect();
                alike.entry(key).or_default().add(peers);
            }
        }
        for (all, mut peers) in alike {
            peers.join();
            for (before, after, services) in all {
                changes.push(Change {
                    subject: name.clone(),
                    direction,
                    before,
                    after,
                    peers: peers.clone(),
                    services,
                });
            }
        }
    }
}

impl Peers {
    fn add(&mut self, other: &Self) {
        self.v4.extend(&other.v4);
        self.v6.extend(&other.v6);
        self.entities.extend(&other.entities);
    }

    /// Puts neighbours together.
    fn join(&mut self) {
        self.v4.sort_unstable();
        self.v4.dedup_by(|next, last| {
            let meets = last.1.checked_add(1) == Some(next.0);
            if meets {
                last.1 = next.1;
            }
            meets
        });
        self.v6.sort_unstable();
        self.v6.dedup_by(|next, last| {
            let meets = last.1.checked_add(1) == Some(next.0);
            if meets {
                last.1 = next.1;
            }
            meets
        });
        self.entities.sort_unstable();
    }
}

/// Where two divisions of addresses have which pair of classes.
fn overlaid<A: Copy + Ord + Step>(
    left: &[(A, u32)],
    right: &[(A, u32)],
    end: A,
) -> Vec<(A, A, Pair)> {
    let mut starts: Vec<A> = left.iter().chain(right).map(|(at, _)| *at).collect();
    starts.sort_unstable();
    starts.dedup();
    let at = |segments: &[(A, u32)], address: A| {
        let behind = segments.partition_point(|(start, _)| *start <= address);
        behind.checked_sub(1).and_then(|at| segments.get(at)).map_or(0, |(_, class)| *class)
    };
    let mut ranges: Vec<(A, A, Pair)> = Vec::new();
    for (number, start) in starts.iter().enumerate() {
        let last = starts.get(number + 1).map_or(end, |next| next.before());
        ranges.push((*start, last, (at(left, *start), at(right, *start))));
    }
    ranges
}

/// Addresses that have one before them.
trait Step {
    fn before(self) -> Self;
}

impl Step for u32 {
    fn before(self) -> Self {
        self.saturating_sub(1)
    }
}

impl Step for u128 {
    fn before(self) -> Self {
        self.saturating_sub(1)
    }
}

/// Where the class of IPv4 addresses changes, read back from an image.
fn segments_v4(words: &[u32]) -> Vec<(u32, u32)> {
    let mut segments = Vec::new();
    below(words, words.word(AT_V4), MAPPED, V4_BITS, &mut segments);
    let own = |(first, class)| (u32::try_from(first ^ MAPPED).unwrap_or(u32::MAX), class);
    normalised(segments.into_iter().map(own).collect())
}

/// The same of IPv6 addresses.
fn segments_v6(words: &[u32]) -> Vec<(u128, u32)> {
    let mut segments = Vec::new();
    below(words, words.word(AT_V6), 0, 0, &mut segments);
    normalised(segments)
}

/// What a word says of the addresses that share the first `depth` bits of
/// `first`.
fn below(words: &[u32], word: u32, first: u128, depth: u32, found: &mut Vec<(u128, u32)>) {
    if word & POINTER == 0 {
        found.push((first, word & CLASS));
        return;
    }
    let node = TrieNode::of(word);
    let head = words.head(node.at).unwrap_or_default();
    let (start, outer) = (head.prefix(), head.outside & CLASS);
    found.push((first, outer));
    for child in 0..1u32 << node.width {
        let first = start | u128::from(child) << node.behind;
        let word = words.word(node.at + NODE_CHILDREN + child);
        below(words, word, first, 128 - node.behind, found);
    }
    let end = last_of(start, node.bit());
    if end < last_of(first, depth) {
        found.push((end + 1, outer));
    }
}

/// The last address that shares so many bits of `first`.
fn last_of(first: u128, bits: u32) -> u128 {
    first | low_bits(bits)
}

/// Of several entries for one address the last is right; neighbours of one
/// class become one.
fn normalised<A: Copy + Eq>(segments: Vec<(A, u32)>) -> Vec<(A, u32)> {
    let mut result: Vec<(A, u32)> = Vec::with_capacity(segments.len());
    for (at, class) in segments {
        if result.last().is_some_and(|(last, _)| *last == at) {
            result.pop();
        }
        if result.last().is_none_or(|(_, last)| *last != class) {
            result.push((at, class));
        }
    }
    result
}

/// All services by the classes that both images have for them.
fn services(old: &[u32], new: &[u32]) -> BTreeMap<Pair, Vec<Service>> {
    let mut cells: BTreeMap<Pair, Vec<Service>> = BTreeMap::new();
    for protocol in 0..=u8::MAX {
        let word = |words: &[u32]| words.word(words.word(AT_PROTOCOLS) + u32::from(protocol));
        let both = word(old) | word(new);
        let last_port = if both & PORTS != 0 {
            u16::MAX
        } else if both & TYPES != 0 {
            255
        } else {
            0
        };
        let mut first = 0;
        let pair = |port| {
            (image::port_class(&old, protocol, port), image::port_class(&new, protocol, port))
        };
        let mut current = pair(0);
        for port in 1..=last_port {
            let next = pair(port);
            if next != current {
                let service = Service { protocol, first, last: port - 1 };
                cells.entry(current).or_default().push(service);
                (first, current) = (port, next);
            }
        }
        cells.entry(current).or_default().push(Service { protocol, first, last: last_port });
    }
    cells
}

/// Services in order, neighbours put together.
fn joined(mut services: Vec<Service>) -> Vec<Service> {
    services.sort_unstable();
    services.dedup_by(|next, last| {
        let meets = next.protocol == last.protocol && last.last.checked_add(1) == Some(next.first);
        if meets {
            last.last = next.last;
        }
        meets
    });
    services
}
