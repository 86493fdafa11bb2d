//! Parts: what one rule says about services that it treats alike (an entry of
//! `toPorts`, or all there is), with the ports that are meant on this subject
//! or on each peer. It resolves names of ports, and knows no addresses.

use std::collections::{BTreeMap, BTreeSet};

use hostfw_datapath::Direction;

use rustc_hash::FxHashMap;

use crate::{
    l7::L7,
    policy::{Action, PolicyRule, Tier},
    ports::{Entry, NamedPort, Service, Services},
    select::{Profile, SelectedRule},
    terms::{Term, TermId, Terms},
    world::{ContainerPort, World},
};

/// The number of a part. Parts are numbered as their rules are.
pub(crate) type PartId = u32;

/// What decides between parts that match one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'p> {
    /// The id of the rule.
    pub(crate) rule: u32,
    /// `None` for what follows all tiers.
    pub(crate) tier: Option<Tier>,
    pub(crate) priority: u32,
    pub(crate) action: Action,
    pub(crate) l7: Option<&'p L7>,
}

/// A part as it concerns one subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) part: PartId,
    /// Which list of services; `None` for every service.
    pub(crate) list: Option<usize>,
}

/// What concerns one subject in one direction: the parts of every term.
pub(crate) type Uses = BTreeMap<TermId, Vec<Use>>;

/// All parts, terms and lists of services of a compilation.
pub(crate) struct Parts<'p> {
    pub(crate) parts: Vec<Part<'p>>,
    pub(crate) terms: Terms<'p>,
    /// Every list of services once.
    pub(crate) lists: Vec<Vec<Service>>,
    numbers: FxHashMap<Vec<Service>, usize>,
    rules: &'p [SelectedRule<'p>],
    /// The first part of every rule.
    first: Vec<PartId>,
    /// What peers call their ports, by name and protocol.
    peer_ports: &'p PeerPorts,
}

/// The ports that egress rules name, and what pods mean by them.
#[derive(Debug, Default)]
pub(crate) struct PeerPorts(BTreeMap<(String, u8), Vec<ContainerPort>>);

impl PeerPorts {
    /// Looks them up in the world.
    pub(crate) fn of(rules: &[SelectedRule<'_>], world: &World) -> Self {
        let wanted: BTreeSet<(&str, u8)> = rules
            .iter()
            .filter(|rule| rule.rule.direction == Direction::Egress)
            .flat_map(|rule| entries(&rule.rule))
            .flat_map(|entry| &entry.named)
            .flat_map(|named| named.protocols.iter().map(|one| (named.name.as_str(), *one)))
            .collect();
        if wanted.is_empty() {
            return Self::default();
        }
        let all = world.pods.values().flat_map(|pod| &pod.workload.ports);
        let found: BTreeSet<&ContainerPort> =
            all.filter(|port| wanted.contains(&(port.name.as_str(), port.protocol))).collect();
        let mut ports: BTreeMap<(String, u8), Vec<ContainerPort>> = wanted
            .iter()
            .map(|(name, protocol)| (((*name).to_owned(), *protocol), Vec::new()))
            .collect();
        for port in found {
            ports.entry((port.name.clone(), port.protocol)).or_default().push(port.clone());
        }
        Self(ports)
    }

    /// True when no rule names the port, or some pod means the same by it.
    pub(crate) fn knows(&self, port: &ContainerPort) -> bool {
        let known = self.0.get(&(port.name.clone(), port.protocol));
        known.is_none_or(|known| known.contains(port))
    }
}

impl<'p> Parts<'p> {
    /// All parts; nobody uses one yet.
    pub(crate) fn new(rules: &'p [SelectedRule<'p>], peer_ports: &'p PeerPorts) -> Self {
        let mut parts = Vec::with_capacity(rules.len());
        let mut first = Vec::with_capacity(rules.len());
        for selected in rules {
            first.push(u32::try_from(parts.len()).unwrap_or(u32::MAX));
            let rule = selected.rule.as_ref();
            let part = Part {
                rule: selected.listed.id,
                tier: selected.tier,
                priority: rule.priority,
                action: rule.action,
                l7: None,
            };
            match &rule.services {
                Services::Every => parts.push(part),
                Services::Only(entries) => {
                    parts.extend(entries.iter().map(|one| Part { l7: one.l7.as_deref(), ..part }));
                }
            }
        }
        Self {
            // Most rules name somebody else than those before.
            terms: Terms::with_room(parts.len()),
            parts,
            lists: Vec::new(),
            numbers: FxHashMap::default(),
            rules,
            first,
            peer_ports,
        }
    }

    /// What concerns a subject in each direction.
    pub(crate) fn uses(&mut self, profile: &Profile) -> [Uses; 2] {
        let mut uses = [Uses::new(), Uses::new()];
        for number in &profile.rules {
            let (Some(selected), Some(first)) = (self.rules.get(*number), self.first.get(*number))
            else {
                continue;
            };
            let rule: &'p PolicyRule = &selected.rule;
            let [ingress, egress] = &mut uses;
            let own = match rule.direction {
                Direction::Ingress => ingress,
                Direction::Egress => egress,
            };
            match &rule.services {
                Services::Every => {
                    let term = self.terms.number(Term { peers: &rule.peers, port: None });
                    own.entry(term).or_default().push(Use { part: *first, list: None });
                }
                Services::Only(entries) => {
                    for (part, entry) in (*first..).zip(entries) {
                        self.entry(part, rule, entry, &profile.ports, own);
                    }
                }
            }
        }
        uses
    }

    fn entry(
        &mut self,
        part: PartId,
        rule: &'p PolicyRule,
        entry: &'p Entry,
        own_ports: &[ContainerPort],
        uses: &mut Uses,
    ) {
        let mut services = entry.services.clone();
        if rule.direction == Direction::Ingress {
            for named in &entry.named {
                services.extend(on_subject(named, own_ports));
            }
        }
        if !services.is_empty() {
            let term = self.terms.number(Term { peers: &rule.peers, port: None });
            let list = Some(self.list(services));
            uses.entry(term).or_default().push(Use { part, list });
        }
        if rule.direction == Direction::Egress {
            for port in entry.named.iter().flat_map(|named| on_peers(named, self.peer_ports)) {
                let term = self.terms.number(Term { peers: &rule.peers, port: Some(port) });
                let service =
                    Service { protocol: port.protocol, first: port.port, last: port.port };
                let list = Some(self.list(vec![service]));
                uses.entry(term).or_default().push(Use { part, list });
            }
        }
    }

    fn list(&mut self, services: Vec<Service>) -> usize {
        let next = self.lists.len();
        *self.numbers.entry(services).or_insert_with_key(|services| {
            self.lists.push(services.clone());
            next
        })
    }
}

fn entries(rule: &PolicyRule) -> &[Entry] {
    match &rule.services {
        Services::Every => &[],
        Services::Only(entries) => entries,
    }
}

/// The ports that a name stands for on the subject itself.
fn on_subject(named: &NamedPort, own: &[ContainerPort]) -> Vec<Service> {
    own.iter()
        .filter(|port| port.name == named.name && named.protocols.contains(&port.protocol))
        .map(|port| Service {
            protocol: port.protocol,
            first: port.port,
            last: named.end.unwrap_or(port.port).max(port.port),
        })
        .collect()
}

/// The ports that a name stands for on one peer or another.
fn on_peers<'p>(named: &NamedPort, ports: &'p PeerPorts) -> Vec<&'p ContainerPort> {
    named
        .protocols
        .iter()
        .filter_map(|protocol| ports.0.get(&(named.name.clone(), *protocol)))
        .flatten()
        .collect()
}
