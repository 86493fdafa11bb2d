//! The language by its rules, one packet at a time and as plainly as possible:
//! no classes, no tables, nothing shared with the compiler but the parsed
//! documents. The property test holds the compiler to it.

use std::{collections::BTreeMap, net::IpAddr};

use hostfw_policy::{
    Direction, Enforcement, Options, Policy, ThisNode, World,
    cidr::PrefixSource,
    entity::Entity,
    policy::{Action, Peers, PolicyRule, Stance, Subjects},
    ports::Services,
    selector::{Operator, Selector},
};
use ipnet::IpNet;

/// A packet as far as policies see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// Which way it goes.
    pub(crate) direction: Direction,
    /// The other end.
    pub(crate) peer: IpAddr,
    /// Its protocol.
    pub(crate) protocol: u8,
    /// Its destination port, or its ICMP type.
    pub(crate) port: u16,
}

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No rule selects the node.
    NotInForce,
    /// By the rule of this id; all that match.
    Allow(u32, Vec<u32>),
    /// By the rule of this id; all that match.
    Deny(u32, Vec<u32>),
    /// Nothing matches.
    DefaultDeny,
    /// Nothing matches, and nothing denies by default.
    DefaultAllow,
}

/// Labels with their sources.
type Labels = Vec<(String, String, String)>;

/// The other end of a packet.
struct Peer {
    address: IpAddr,
    is_host: bool,
    is_remote_node: bool,
    is_pod: bool,
    is_api_server: bool,
    labels: Labels,
    node_labels: Option<Labels>,
}

/// Judges one packet.
pub(crate) fn judge(
    policies: &[Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
    packet: Packet,
) -> Outcome {
    let own = own_labels(world, node);
    let peer = who(world, node, packet.peer);
    let mut next_id = 0;
    let (mut in_force, mut default_deny) = (false, false);
    let (mut allowing, mut denying) = (Vec::new(), Vec::new());
    for spec in policies.iter().flat_map(|policy| policy.specs.iter()) {
        let Subjects::Nodes(nodes) = &spec.subjects else { continue };
        if !selects(nodes, &own) {
            continue;
        }
        for rule in &spec.rules {
            let id = next_id;
            next_id += 1;
            if rule.direction != packet.direction {
                continue;
            }
            in_force = true;
            let stance = match rule.direction {
                Direction::Ingress => spec.ingress,
                Direction::Egress => spec.egress,
            };
            default_deny |= stance == Stance::DefaultDeny;
            if names_peer(rule, &peer, world, options) && names_service(rule, packet) {
                match rule.action {
                    Action::Deny => denying.push(id),
                    Action::Allow => allowing.push(id),
                    Action::Pass => {}
                }
            }
        }
    }
    match options.enforcement {
        Enforcement::Default if !in_force => return Outcome::NotInForce,
        Enforcement::Never => return Outcome::NotInForce,
        Enforcement::Always => default_deny = true,
        Enforcement::Default => {}
    }
    let mut all: Vec<u32> = allowing.iter().chain(&denying).copied().collect();
    all.sort_unstable();
    match (denying.first(), allowing.first()) {
        (Some(first), _) => Outcome::Deny(*first, all),
        (None, Some(first)) => Outcome::Allow(*first, all),
        (None, None) if default_deny => Outcome::DefaultDeny,
        (None, None) => Outcome::DefaultAllow,
    }
}

fn names_service(rule: &PolicyRule, packet: Packet) -> bool {
    match &rule.services {
        Services::Every => true,
        Services::Only(list) => list.iter().flat_map(|entry| &entry.services).any(|service| {
            service.protocol == packet.protocol
                && service.first <= packet.port
                && packet.port <= service.last
        }),
    }
}

fn names_peer(rule: &PolicyRule, peer: &Peer, world: &World, options: &Options) -> bool {
    let outside = !peer.is_host && !peer.is_remote_node && !peer.is_pod;
    names(&rule.peers, peer, outside, world, options)
}

fn names(peers: &Peers, peer: &Peer, outside: bool, world: &World, options: &Options) -> bool {
    match peers {
        Peers::Every => true,
        Peers::Nobody => false,
        Peers::Prefixes(terms) => {
            let possible = outside
                || (options.cidr_match_pods && peer.is_pod)
                || (options.cidr_match_nodes && (peer.is_host || peer.is_remote_node));
            let inside = |net: &IpNet| net.contains(&peer.address);
            possible
                && terms.iter().any(|term| {
                    let named = match &term.from {
                        PrefixSource::Cidr(net) => inside(net),
                        PrefixSource::Group(name) => world
                            .cidr_groups
                            .get(name)
                            .is_some_and(|group| group.cidrs.iter().any(inside)),
                        PrefixSource::Groups(selector) => world.cidr_groups.values().any(|group| {
                            selects(selector, &from_object(&group.labels))
                                && group.cidrs.iter().any(inside)
                        }),
                    };
                    named && !term.except.iter().any(inside)
                })
        }
        Peers::Entities(entities) => entities.iter().any(|entity| match entity {
            Entity::All => true,
            Entity::World => outside,
            Entity::WorldIpv4 => outside && peer.address.is_ipv4(),
            Entity::WorldIpv6 => outside && peer.address.is_ipv6(),
            Entity::Host => peer.is_host,
            Entity::RemoteNode => peer.is_remote_node,
            Entity::KubeApiserver => peer.is_api_server,
            Entity::Cluster | Entity::ClusterMesh => !outside || peer.is_api_server,
            Entity::Health | Entity::Ingress | Entity::Init | Entity::Unmanaged | Entity::None => {
                false
            }
        }),
        Peers::Endpoints(selectors) => selectors.iter().any(|one| selects(one, &peer.labels)),
        Peers::Nodes(selectors) => peer
            .node_labels
            .as_ref()
            .is_some_and(|labels| selectors.iter().any(|one| selects(one, labels))),
        Peers::AnyOf(parts) => parts.iter().any(|one| names(one, peer, outside, world, options)),
        Peers::Names(_) | Peers::Services(_) => panic!("not among the rules that are made here"),
    }
}

fn selects(selector: &Selector, labels: &Labels) -> bool {
    selector.requirements.iter().all(|requirement| {
        let values: Vec<&String> = labels
            .iter()
            .filter(|(source, key, _)| {
                *key == requirement.key
                    && requirement.source.as_ref().is_none_or(|wanted| wanted == source)
            })
            .map(|(_, _, value)| value)
            .collect();
        match &requirement.operator {
            Operator::In(wanted) => wanted.iter().any(|one| values.contains(&one)),
            Operator::NotIn(unwanted) => unwanted.iter().all(|one| !values.contains(&one)),
            Operator::Exists => !values.is_empty(),
            Operator::DoesNotExist => values.is_empty(),
        }
    })
}

fn who(world: &World, node: &ThisNode, address: IpAddr) -> Peer {
    let is_api_server = world.api_servers.contains(&address);
    let own_object = world.nodes.get(&node.name);
    let mut peer = Peer {
        address,
        is_host: node.addresses.contains(&address)
            || own_object.is_some_and(|own| own.addresses.contains(&address)),
        is_remote_node: false,
        is_pod: false,
        is_api_server,
        labels: Vec::new(),
        node_labels: None,
    };
    let role = |name: &str| ("reserved".to_owned(), name.to_owned(), String::new());
    let other = world
        .nodes
        .iter()
        .find(|(name, other)| **name != node.name && other.addresses.contains(&address));
    let pod = world.pods.iter().find(|(_, pod)| pod.addresses.contains(&address));
    if peer.is_host {
        peer.labels.push(role("host"));
    } else if let Some((_, other)) = other {
        peer.is_remote_node = true;
        peer.labels.push(role("remote-node"));
        peer.node_labels = Some(from_object(&other.labels));
    } else if let Some(((namespace, _), pod)) = pod {
        peer.is_pod = true;
        peer.is_api_server = false;
        peer.labels = from_object(&pod.workload.labels);
        let mut add = |key: &str, value: &str| {
            peer.labels.push(("k8s".to_owned(), key.to_owned(), value.to_owned()));
        };
        add("io.kubernetes.pod.namespace", namespace);
        add("io.cilium.k8s.policy.cluster", "default");
        add("io.cilium.k8s.policy.serviceaccount", &pod.workload.service_account);
        add("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", namespace);
        for (key, value) in world.namespaces.get(namespace).into_iter().flatten() {
            add(&format!("io.cilium.k8s.namespace.labels.{key}"), value);
        }
    } else {
        peer.labels.push(role(if address.is_ipv4() { "world-ipv4" } else { "world-ipv6" }));
    }
    if peer.is_api_server {
        peer.labels.push(role("kube-apiserver"));
    }
    peer
}

fn own_labels(world: &World, node: &ThisNode) -> Labels {
    let mut labels = world.nodes.get(&node.name).map(|own| own.labels.clone()).unwrap_or_default();
    labels.extend(node.labels.clone());
    let mut labels = from_object(&labels);
    labels.push(("reserved".to_owned(), "host".to_owned(), String::new()));
    labels
}

fn from_object(labels: &BTreeMap<String, String>) -> Labels {
    labels.iter().map(|(key, value)| ("k8s".to_owned(), key.clone(), value.clone())).collect()
}
