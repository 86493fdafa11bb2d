//! Peers and services, divided as finely as a number of rules tells them apart,
//! and which rules name each cell. It is the compiler's own division, so what a
//! guardrail says of a cell is true of every packet in it.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    compile::CompileError,
    encode::Segments,
    entity::Entity,
    identity::Known,
    node::Options,
    peers::Division,
    policy::PolicyRule,
    ports::{Service, Services},
    rule_set::RuleSets,
    services::{self, PortClasses, UNNAMED},
    summary,
    terms::{Term, TermId, TermIndex, Terms},
    world::{ContainerPort, World},
};

/// A set of port classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports(Vec<u64>);

impl Ports {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, beside) in self.0.iter_mut().zip(&other.0) {
            *word |= beside;
        }
    }

    pub(super) fn remove(&mut self, other: &Self) {
        for (word, beside) in self.0.iter_mut().zip(&other.0) {
            *word &= !beside;
        }
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(word, beside)| word & beside).collect())
    }

    pub(super) fn contains(&self, class: u32) -> bool {
        let word = usize::try_from(class / 64).ok().and_then(|at| self.0.get(at));
        word.is_some_and(|word| word & 1 << (class % 64) != 0)
    }

    /// One class of the set, rather one that has a name.
    pub(super) fn sample(&self) -> Option<u32> {
        let mut classes = (0u32..).zip(&self.0).flat_map(|(at, word)| {
            (0..64).filter(move |bit| word & 1 << bit != 0).map(move |bit| at * 64 + bit)
        });
        let first = classes.next()?;
        Some(if first == UNNAMED { classes.next().unwrap_or(first) } else { first })
    }

    fn insert(&mut self, class: u32) {
        let at = usize::try_from(class / 64).unwrap_or(0);
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            *word |= 1 << (class % 64);
        }
    }
}

/// Peers and services in cells.
pub(super) struct Cells {
    /// By rule: what it names.
    pub(super) term_of: Vec<TermId>,
    pub(super) ports_of: Vec<Ports>,
    /// By class of peers: the terms that name them.
    pub(super) classes: Vec<Vec<TermId>>,
    /// The classes of addresses.
    pub(super) v4: Segments<u128>,
    pub(super) v6: Segments<u128>,
    /// The classes of roles without an address.
    pub(super) placeless: Vec<(Entity, u32)>,
    ports: PortClasses,
}

impl Cells {
    /// Divides what the rules name; `known` says who has which address.
    pub(super) fn of(
        rules: &[&PolicyRule],
        world: &World,
        known: &Known,
        options: &Options,
    ) -> Result<Self, CompileError> {
        let pod_ports = pod_ports(world);
        let mut terms = Terms::default();
        let mut lists = Vec::with_capacity(rules.len());
        let mut term_of = Vec::with_capacity(rules.len());
        for rule in rules {
            term_of.push(terms.number(Term { peers: &rule.peers, port: None }));
            lists.push(list(&rule.services, &pod_ports));
        }
        let index = TermIndex::new(&terms, world, options);
        let mut sets = RuleSets::default();
        let peers = Division { index: &index, known, options, sets: &mut sets }.divide()?;
        let listed: Vec<&[Service]> =
            lists.iter().map(|list| list.as_deref().unwrap_or(&[])).collect();
        let ports = services::classify(&listed);
        let mut every = Ports::default();
        (0..ports.n_classes).for_each(|class| every.insert(class));
        let ports_of = lists.iter().zip(&ports.of_list).map(|(list, classes)| {
            let mut own = Ports(vec![0; every.0.len()]);
            match list {
                None => own.add(&every),
                Some(_) => classes.iter().for_each(|class| own.insert(*class)),
            }
            own
        });
        let class = |word: u32| word & hostfw_datapath::image::CLASS;
        Ok(Self {
            term_of,
            ports_of: ports_of.collect(),
            classes: peers.classes.sets.iter().map(|set| sets.ids(*set)).collect(),
            v4: peers.v4.iter().map(|(at, word)| (u128::from(*at), class(*word))).collect(),
            v6: peers.v6.iter().map(|(at, word)| (*at, class(*word))).collect(),
            placeless: peers.placeless,
            ports,
        })
    }

    /// The rules that name each class, by their numbers.
    pub(super) fn naming(&self) -> impl Iterator<Item = Vec<usize>> {
        let mut of_term: BTreeMap<TermId, Vec<usize>> = BTreeMap::new();
        for (rule, term) in self.term_of.iter().enumerate() {
            of_term.entry(*term).or_default().push(rule);
        }
        self.classes.iter().map(move |terms| {
            let mut rules: Vec<usize> =
                terms.iter().filter_map(|term| of_term.get(term)).flatten().copied().collect();
            rules.sort_unstable();
            rules
        })
    }

    /// The addresses of a family, from where to where and of which class.
    pub(super) fn ranges(&self, is_v4: bool) -> impl Iterator<Item = (u128, u128, usize)> {
        let (segments, end) =
            if is_v4 { (&self.v4, u128::from(u32::MAX)) } else { (&self.v6, u128::MAX) };
        let next = segments.iter().skip(1).map(|(at, _)| at.saturating_sub(1)).chain([end]);
        segments.iter().zip(next).filter_map(|((first, class), last)| {
            Some((*first, last, usize::try_from(*class).ok()?))
        })
    }

    /// A service of a class, in words.
    pub(super) fn service(&self, class: u32) -> String {
        if self.ports.n_classes == 1 {
            return "every service".to_owned();
        }
        let known = self.ports.ports.iter().find_map(|(protocol, starts)| {
            let at = starts.iter().position(|(_, known)| *known == class)?;
            let first = starts.get(at)?.0;
            let last = starts.get(at + 1).map_or(u16::MAX, |(next, _)| next.saturating_sub(1));
            Some(Service { protocol: *protocol, first, last })
        });
        let known = known.or_else(|| {
            let (protocol, types) =
                self.ports.types.iter().find(|(_, types)| types.contains(&class))?;
            let number = types.iter().position(|known| *known == class)?;
            Some(Service::icmp(*protocol, u8::try_from(number).ok()?))
        });
        let known = known.or_else(|| {
            let (protocol, _) = self.ports.whole.iter().find(|(_, known)| **known == class)?;
            Some(Service { protocol: *protocol, first: 0, last: 0 })
        });
        known.map_or_else(|| "other protocols".to_owned(), |service| summary::service(&service))
    }
}

/// Every port that some pod has a name for.
fn pod_ports(world: &World) -> BTreeMap<(&str, u8), Vec<&ContainerPort>> {
    let mut ports: BTreeMap<(&str, u8), Vec<&ContainerPort>> = BTreeMap::new();
    for port in world.pods.values().flat_map(|pod| &pod.workload.ports) {
        let known = ports.entry((port.name.as_str(), port.protocol)).or_default();
        if !known.contains(&port) {
            known.push(port);
        }
    }
    ports
}

/// The services of a rule; `None` for every one. A name stands for whatever
/// port some pod gives it.
fn list(
    services: &Services,
    pod_ports: &BTreeMap<(&str, u8), Vec<&ContainerPort>>,
) -> Option<Vec<Service>> {
    let Services::Only(entries) = services else { return None };
    let mut list = Vec::new();
    for entry in entries {
        list.extend(&entry.services);
        for named in &entry.named {
            let ports = named
                .protocols
                .iter()
                .filter_map(|protocol| pod_ports.get(&(named.name.as_str(), *protocol)));
            list.extend(ports.flatten().map(|port| Service {
                protocol: port.protocol,
                first: port.port,
                last: named.end.unwrap_or(port.port).max(port.port),
            }));
        }
    }
    Some(list)
}

/// The widest prefix within a range of addresses.
pub(super) fn widest(first: u128, last: u128, is_v4: bool) -> (u128, u8) {
    let bits: u8 = if is_v4 { 32 } else { 128 };
    let end = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
    if (first, last) == (0, end) {
        return (0, 0);
    }
    (1..=bits)
        .find_map(|length| {
            let size = 1u128.checked_shl(u32::from(bits - length))?;
            let start = first.checked_add(size - 1)? & !(size - 1);
            (start.checked_add(size - 1)? <= last).then_some((start, length))
        })
        .unwrap_or((first, bits))
}

/// A prefix in words.
pub(super) fn prefix(start: u128, length: u8, is_v4: bool) -> String {
    let address = if is_v4 {
        IpAddr::from(u32::try_from(start).unwrap_or(u32::MAX).to_be_bytes())
    } else {
        IpAddr::from(start.to_be_bytes())
    };
    format!("{address}/{length}")
}
