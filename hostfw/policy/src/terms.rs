//! Terms: what rules name their peers by, each distinct one once, and which of
//! them name a given identity. Prefixes are handed on as they are; which
//! addresses they match is answered in `peers`.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::{
    cidr::{PrefixSource, PrefixTerm},
    entity::Entity,
    identity::Identity,
    label::{K8S, Labels},
    node::Options,
    policy::Peers,
    rule_set::{EMPTY, RuleSets, SetId},
    selector::{Operator, Requirement, Selector},
    selector_index::SelectorIndex,
    service_ref::{ServiceTerm, WhichServices},
    world::{ContainerPort, Service, World},
};

/// The number of a term.
pub(crate) type TermId = u32;

/// Peers, and the port by which those among them that are pods are meant:
/// `port: http` of an egress rule is another port for each (rule 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Term<'p> {
    pub(crate) peers: &'p Peers,
    pub(crate) port: Option<&'p ContainerPort>,
}

/// Every term once.
#[derive(Debug, Default)]
pub(crate) struct Terms<'p> {
    pub(crate) all: Vec<Term<'p>>,
    numbers: FxHashMap<Term<'p>, TermId>,
}

impl<'p> Terms<'p> {
    /// None yet, with room for so many.
    pub(crate) fn with_room(n_terms: usize) -> Self {
        let numbers = FxHashMap::with_capacity_and_hasher(n_terms, FxBuildHasher);
        Self { all: Vec::with_capacity(n_terms), numbers }
    }

    /// The number of a term.
    pub(crate) fn number(&mut self, term: Term<'p>) -> TermId {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(term).or_insert(next);
        if number == next {
            self.all.push(term);
        }
        number
    }

    /// Selectors of the pods behind the Services that terms name.
    fn behind_services(&self, world: &World) -> Vec<(Selector, TermId)> {
        let mut found = Vec::new();
        for (number, term) in (0..).zip(&self.all) {
            for leaf in leaves(term.peers) {
                let Peers::Services(services) = leaf else { continue };
                for (namespace, service) in services.iter().flat_map(|one| named(one, world)) {
                    if !service.selector.is_empty() {
                        found.push((selector_of(namespace, service), number));
                    }
                }
            }
        }
        found
    }
}

/// Finds the terms that name an identity.
#[derive(Debug)]
pub(crate) struct TermIndex {
    /// By term: the port that is meant of those who have it.
    ports: Vec<Option<ContainerPort>>,
    options: Options,
    every: Vec<TermId>,
    by_entity: BTreeMap<Entity, Vec<TermId>>,
    endpoints: SelectorIndex,
    nodes: SelectorIndex,
    /// Every prefix with what it leaves out and the term it belongs to.
    pub(crate) prefixes: Vec<(IpNet, Vec<IpNet>, TermId)>,
}

impl TermIndex {
    pub(crate) fn new(terms: &Terms<'_>, world: &World, options: &Options) -> Self {
        let mut every = Vec::new();
        let mut by_entity: BTreeMap<Entity, Vec<TermId>> = BTreeMap::new();
        let mut endpoints = terms.behind_services(world);
        let mut nodes = Vec::new();
        let mut prefixes = Vec::new();
        for (number, term) in (0..).zip(&terms.all) {
            for leaf in leaves(term.peers) {
                match leaf {
                    Peers::Every => every.push(number),
                    Peers::Nobody | Peers::AnyOf(_) => {}
                    Peers::Entities(entities) => {
                        for entity in entities {
                            by_entity.entry(*entity).or_default().push(number);
                        }
                    }
                    Peers::Endpoints(selectors) => {
                        endpoints.extend(selectors.iter().map(|one| (one.clone(), number)));
                    }
                    Peers::Nodes(selectors) => {
                        nodes.extend(selectors.iter().map(|one| (one.clone(), number)));
                    }
                    // No address outside the cluster has named ports.
                    Peers::Prefixes(_) | Peers::Names(_) | Peers::Services(_)
                        if term.port.is_some() => {}
                    Peers::Prefixes(terms) => {
                        for term in terms {
                            let cidrs = cidrs(term, world).into_iter();
                            prefixes.extend(cidrs.map(|cidr| (cidr, term.except.clone(), number)));
                        }
                    }
                    Peers::Names(patterns) => {
                        let matching = world.names.iter().filter(|(_, names)| {
                            patterns.iter().any(|one| names.iter().any(|name| one.matches(name)))
                        });
                        prefixes.extend(matching.map(|(address, _)| host(*address, number)));
                    }
                    Peers::Services(services) => {
                        let behind = services.iter().flat_map(|one| named(one, world));
                        let fixed = behind.filter(|(_, service)| service.selector.is_empty());
                        prefixes.extend(fixed.flat_map(|(_, service)| {
                            service.addresses.iter().map(|address| host(*address, number))
                        }));
                    }
                }
            }
        }
        Self {
            ports: terms.all.iter().map(|term| term.port.cloned()).collect(),
            options: *options,
            every,
            by_entity,
            endpoints: SelectorIndex::new(endpoints),
            nodes: SelectorIndex::new(nodes),
            prefixes,
        }
    }

    /// The set of the terms that name an identity by what it is. Prefixes are
    /// a question of its address.
    pub(crate) fn set_of(&self, identity: &Identity, sets: &mut RuleSets) -> SetId {
        self.naming(identity).iter().fold(EMPTY, |set, term| sets.with(set, *term))
    }

    /// The terms with a prefix that holds an address and does not leave it out.
    pub(crate) fn covering(&self, address: IpAddr) -> impl Iterator<Item = TermId> {
        let holds = move |net: &IpNet| net.contains(&address);
        let covering = self
            .prefixes
            .iter()
            .filter(move |(cidr, except, _)| holds(cidr) && !except.iter().any(holds));
        covering.map(|(_, _, term)| *term)
    }

    fn naming(&self, identity: &Identity) -> Vec<TermId> {
        let mut found = self.every.clone();
        for (entity, terms) in &self.by_entity {
            if identity.plays(*entity, &self.options) {
                found.extend(terms);
            }
        }
        self.endpoints.selecting(&identity.labels, &mut found);
        if let Some(labels) = &identity.node_labels {
            self.nodes.selecting(labels, &mut found);
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|number| {
            let port = usize::try_from(*number).ok().and_then(|at| self.ports.get(at));
            port.and_then(Option::as_ref).is_none_or(|port| identity.ports.contains(port))
        });
        found
    }
}

/// Peers without the lists that hold several kinds.
pub(crate) fn leaves(peers: &Peers) -> Vec<&Peers> {
    match peers {
        Peers::AnyOf(parts) => parts.iter().flat_map(leaves).collect(),
        Peers::Every
        | Peers::Nobody
        | Peers::Prefixes(_)
        | Peers::Entities(_)
        | Peers::Endpoints(_)
        | Peers::Nodes(_)
        | Peers::Names(_)
        | Peers::Services(_) => vec![peers],
    }
}

fn host(address: IpAddr, number: TermId) -> (IpNet, Vec<IpNet>, TermId) {
    (IpNet::from(address.to_canonical()), Vec::new(), number)
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
            .filter(|group| selector.selects(&from_object(&group.labels)))
            .flat_map(|group| group.cidrs.iter().copied())
            .collect(),
    }
}

/// The Services that an entry names, each with its namespace.
pub(crate) fn named<'w>(term: &ServiceTerm, world: &'w World) -> Vec<(&'w str, &'w Service)> {
    match &term.which {
        WhichServices::Named(namespace, name) => world
            .services
            .get_key_value(&(namespace.clone(), name.clone()))
            .map(|((namespace, _), service)| (namespace.as_str(), service))
            .into_iter()
            .collect(),
        WhichServices::Selected(wanted, selector) => world
            .services
            .iter()
            .filter(|((namespace, _), service)| {
                wanted.as_ref().is_none_or(|wanted| wanted == namespace)
                    && selector.selects(&from_object(&service.labels))
            })
            .map(|((namespace, _), service)| (namespace.as_str(), service))
            .collect(),
    }
}

/// The pods that a Service sends to.
fn selector_of(namespace: &str, service: &Service) -> Selector {
    let mut selector = Selector::default();
    for (key, value) in &service.selector {
        let operator = Operator::In(vec![value.clone()]);
        let source = Some(K8S.to_owned());
        selector.requirements.push(Requirement { source, key: key.clone(), operator });
    }
    selector.in_namespace(namespace);
    selector
}

fn from_object(labels: &BTreeMap<String, String>) -> Labels {
    let mut seen = Labels::default();
    for (key, value) in labels {
        seen.insert(K8S, key, value);
    }
    seen
}
