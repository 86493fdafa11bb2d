//! Rules that are fine by themselves and contradict each other on one subject:
//! two proxies for the same connections, two ways to authenticate the same
//! peers. It is asked before anything is compiled, and compares rules that name
//! a peer in the same words; where different words overlap, rule 26 says who
//! wins.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    compile::CompileError,
    complaint::{Complaint, Report, Source},
    entity::Entity,
    l7::{L7, Proxy},
    node::{Options, ThisNode},
    parts::{Part, Parts, PeerPorts, Uses},
    policy::{Peers, Policy},
    select::{SelectedRule, select},
    text::Position,
    world::{Pod, World},
};

/// Two rules that contradict each other.
struct Conflict<'r, 'p> {
    what: &'static str,
    first: &'r SelectedRule<'p>,
    second: &'r SelectedRule<'p>,
}

/// Complains about every rule that contradicts one before it on the given node
/// or on one of its pods; without a node on any known pod, wherever it runs.
/// `sources` are the files the policies were read from.
pub fn conflicts(
    sources: &[Source],
    policies: &[Policy],
    world: &World,
    node: Option<&ThisNode>,
    options: &Options,
) -> Vec<Complaint> {
    let nobody = ThisNode::default();
    let options = Options { pods: true, ..*options };
    let mut world = world.clone();
    if node.is_none() {
        // Whom a policy concerns does not depend on where a pod runs, so all of
        // them may run at one place and be asked about at once.
        let gather = |(key, pod): (&(String, String), &Arc<Pod>)| {
            let node = Some(nobody.name.clone());
            (key.clone(), Arc::new(Pod { node, ..Pod::clone(pod) }))
        };
        world.pods = world.pods.iter().map(gather).collect();
    }
    let selected = select(policies, &world, node.unwrap_or(&nobody), &options);
    let peer_ports = PeerPorts::of(&selected.rules, &world);
    let mut parts = Parts::new(&selected.rules, &peer_ports);
    let uses: Vec<[Uses; 2]> = selected.profiles.iter().map(|one| parts.uses(one)).collect();
    let found = find(&selected.rules, &parts, &uses);
    let mut complaints = Vec::new();
    for source in sources {
        let mut report = Report::new(source);
        for Conflict { what, first, second } in found.values() {
            let listed = &second.listed;
            if *listed.path == *source.path {
                let at = Position { line: listed.line, column: listed.column };
                let what = format!("{what}: this rule and {}", place(first));
                report.error(at, "conflict", what, "rules that agree, or other peers or ports");
            }
        }
        complaints.extend(report.finish());
    }
    complaints
}

/// Refuses the rules when two of them contradict each other.
pub(crate) fn refuse(
    rules: &[SelectedRule<'_>],
    parts: &Parts<'_>,
    uses: &[[Uses; 2]],
) -> Result<(), CompileError> {
    match find(rules, parts, uses).into_values().next() {
        None => Ok(()),
        Some(Conflict { what, first, second }) => {
            Err(CompileError::Conflict { what, first: place(first), second: place(second) })
        }
    }
}

/// Every rule that contradicts one before it, with the first such, by its id.
fn find<'r, 'p>(
    rules: &'r [SelectedRule<'p>],
    parts: &Parts<'_>,
    uses: &[[Uses; 2]],
) -> BTreeMap<u32, Conflict<'r, 'p>> {
    let mut found = BTreeMap::new();
    // Nearly no set of rules has either, and this one walks all of them.
    let any_l7 = parts.parts.iter().any(|part| part.l7.is_some());
    let any_auth = rules.iter().any(|rule| rule.rule.authentication.is_some());
    if any_l7 || any_auth {
        for uses in uses.iter().flatten() {
            find_in(rules, parts, uses, &mut found);
        }
    }
    found
}

fn find_in<'r, 'p>(
    rules: &'r [SelectedRule<'p>],
    parts: &Parts<'_>,
    uses: &Uses,
    found: &mut BTreeMap<u32, Conflict<'r, 'p>>,
) {
    let mut proxies: HashMap<_, Vec<&Part<'_>>> = HashMap::new();
    let mut authenticated: HashMap<_, &SelectedRule<'_>> = HashMap::new();
    for (term, uses) in uses {
        let Some(term) = usize::try_from(*term).ok().and_then(|at| parts.terms.all.get(at)) else {
            continue;
        };
        for one in uses {
            let Some(part) = usize::try_from(one.part).ok().and_then(|at| parts.parts.get(at))
            else {
                continue;
            };
            let Some(rule) = usize::try_from(part.rule).ok().and_then(|at| rules.get(at)) else {
                continue;
            };
            let mode = rule.rule.authentication;
            if mode.is_none() && part.l7.is_none() {
                continue;
            }
            let mut add = |what, first| {
                let conflict = Conflict { what, first, second: rule };
                found.entry(part.rule).or_insert(conflict);
            };
            let services = match one.list.and_then(|list| parts.lists.get(list)) {
                Some(list) => list.iter().map(|service| Some(*service)).collect(),
                None => vec![None],
            };
            for key in one_by_one(term.peers).iter().flat_map(|peer| {
                services.iter().map(move |service| (peer.clone(), term.port, *service))
            }) {
                if let Some(mode) = mode {
                    let first = *authenticated.entry(key.clone()).or_insert(rule);
                    if first.rule.authentication != Some(mode) {
                        add("two ways to authenticate the same peers", first);
                    }
                }
                let Some(l7) = part.l7 else { continue };
                let before = proxies.entry(key).or_default();
                let conflict = before.iter().find_map(|other| {
                    let first = usize::try_from(other.rule).ok().and_then(|at| rules.get(at))?;
                    Some((disagreement(other.l7?, l7)?, first))
                });
                if let Some((what, first)) = conflict {
                    add(what, first);
                }
                before.push(part);
            }
        }
    }
}

/// Each of the peers that a rule names by itself; none where it names nobody.
fn one_by_one(peers: &Peers) -> Vec<Peers> {
    match peers {
        Peers::Every => vec![Peers::Every],
        Peers::Nobody => Vec::new(),
        Peers::Prefixes(all) => all.iter().map(|one| Peers::Prefixes(vec![one.clone()])).collect(),
        Peers::Entities(all) => all
            .iter()
            .map(|one| if *one == Entity::All { Peers::Every } else { Peers::Entities(vec![*one]) })
            .collect(),
        Peers::Endpoints(all) => {
            all.iter().map(|one| Peers::Endpoints(vec![one.clone()])).collect()
        }
        Peers::Nodes(all) => all.iter().map(|one| Peers::Nodes(vec![one.clone()])).collect(),
        Peers::Names(all) => all.iter().map(|one| Peers::Names(vec![one.clone()])).collect(),
        Peers::Services(all) => all.iter().map(|one| Peers::Services(vec![one.clone()])).collect(),
        Peers::AnyOf(all) => all.iter().flat_map(one_by_one).collect(),
    }
}

/// Why two proxies cannot have the same connections.
fn disagreement(one: &L7, other: &L7) -> Option<&'static str> {
    match (one.proxy, other.proxy) {
        (Proxy::Listener, Proxy::Listener) => {
            let (Some(left), Some(right)) = (&one.listener, &other.listener) else { return None };
            ((&left.resource, &left.name) != (&right.resource, &right.name)
                && left.priority == right.priority)
                .then_some("two listeners of one priority for the same connections")
        }
        (Proxy::Http, Proxy::Tls) | (Proxy::Tls, Proxy::Http) => (!one.terminates_tls
            && !other.terminates_tls)
            .then_some("HTTP rules and server names without `terminatingTLS`"),
        (left, right) => (left != right || one.rules.protocol() != other.rules.protocol())
            .then_some("two proxies for the same connections"),
    }
}

fn place(rule: &SelectedRule<'_>) -> String {
    let listed = &rule.listed;
    format!("`{}` ({}:{})", listed.policy, listed.path, listed.line)
}
