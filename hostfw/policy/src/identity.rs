//! Who an address is: this host, another node, a pod, the API server, or the
//! world outside; and whether that is whom a rule names. It knows nothing of
//! prefixes in rules.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    entity::Entity,
    label::{
        self, CLUSTER, K8S, LOCAL_CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS, RESERVED,
        SERVICE_ACCOUNT,
    },
    node::{Options, ThisNode},
    policy::Peers,
    selector::Selector,
    world::{Pod, World},
};

/// Everything about an address that rules can ask, its own number left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) kind: Kind,
    is_api_server: bool,
    /// What `fromEndpoints` selects by.
    labels: Labels,
    /// What `fromNodes` selects by.
    node_labels: Option<Labels>,
}

/// The kind of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// This host.
    Host,
    /// Another node.
    RemoteNode,
    /// A pod with an address of its own.
    Pod,
    /// Everyone else, an API server outside the cluster included.
    Outside {
        /// The family of the address.
        is_v4: bool,
    },
}

impl Identity {
    /// Whoever has an address that nobody in the world claims.
    pub(crate) fn world(is_v4: bool) -> Self {
        let name = if is_v4 { "world-ipv4" } else { "world-ipv6" };
        let labels = Labels::default().with(RESERVED, name, "");
        Self { kind: Kind::Outside { is_v4 }, is_api_server: false, labels, node_labels: None }
    }

    fn plays(&self, entity: Entity) -> bool {
        let outside = matches!(self.kind, Kind::Outside { .. });
        match entity {
            Entity::All => true,
            Entity::World => outside,
            Entity::WorldIpv4 => self.kind == Kind::Outside { is_v4: true },
            Entity::WorldIpv6 => self.kind == Kind::Outside { is_v4: false },
            Entity::Host => self.kind == Kind::Host,
            Entity::RemoteNode => self.kind == Kind::RemoteNode,
            Entity::KubeApiserver => self.is_api_server,
            Entity::Cluster | Entity::ClusterMesh => !outside || self.is_api_server,
            Entity::Health | Entity::Ingress | Entity::Init | Entity::Unmanaged | Entity::None => {
                false
            }
        }
    }

    /// Whether a rule names this identity. Prefixes are a question of the
    /// address and answered elsewhere; here they match nobody.
    pub(crate) fn is_named_by(&self, peers: &Peers) -> bool {
        let any = |selectors: &[Selector], labels: &Labels| {
            selectors.iter().any(|selector| selector.selects(labels))
        };
        match peers {
            Peers::Every => true,
            Peers::Nobody | Peers::Prefixes(_) => false,
            Peers::Entities(entities) => entities.iter().any(|entity| self.plays(*entity)),
            Peers::Endpoints(selectors) => any(selectors, &self.labels),
            Peers::Nodes(selectors) => {
                self.node_labels.as_ref().is_some_and(|labels| any(selectors, labels))
            }
        }
    }

    /// Whether rules match this identity by prefix.
    pub(crate) fn has_prefixes(&self, options: &Options) -> bool {
        match self.kind {
            Kind::Outside { .. } => true,
            Kind::Host | Kind::RemoteNode => options.cidr_match_nodes,
            Kind::Pod => options.cidr_match_pods,
        }
    }
}

/// The identity of every address that the world knows. Where two claim one
/// address, the host comes first, then nodes, then pods.
pub(crate) fn known_addresses(
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> BTreeMap<IpAddr, Identity> {
    let mut known = BTreeMap::new();
    let own = world.nodes.get(&node.name).map(|own| &own.addresses);
    for address in node.addresses.iter().chain(own.into_iter().flatten()) {
        let identity = |is_api_server| Identity {
            kind: Kind::Host,
            is_api_server,
            labels: reserved("host", is_api_server),
            node_labels: None,
        };
        claim(&mut known, world, *address, identity);
    }
    for (_, other) in world.nodes.iter().filter(|(name, _)| **name != node.name) {
        for address in &other.addresses {
            let identity = |is_api_server| Identity {
                kind: Kind::RemoteNode,
                is_api_server,
                labels: reserved("remote-node", is_api_server),
                node_labels: Some(object_labels(&other.labels, options)),
            };
            claim(&mut known, world, *address, identity);
        }
    }
    for ((namespace, _), pod) in &world.pods {
        for address in &pod.addresses {
            let identity = |_| Identity {
                kind: Kind::Pod,
                is_api_server: false,
                labels: pod_labels(namespace, pod, world, options),
                node_labels: None,
            };
            claim(&mut known, world, *address, identity);
        }
    }
    for address in &world.api_servers {
        let identity = |_| {
            let mut outside = Identity::world(address.is_ipv4());
            outside.is_api_server = true;
            outside.labels.insert(RESERVED, "kube-apiserver", "");
            outside
        };
        claim(&mut known, world, *address, identity);
    }
    known
}

/// The labels of this node that policies can select: those of its Node object
/// and those of its configuration, filtered where that is asked for.
pub fn node_labels(world: &World, node: &ThisNode, options: &Options) -> BTreeMap<String, String> {
    let object = world.nodes.get(&node.name).map(|own| &own.labels);
    let mut both = object.cloned().unwrap_or_default();
    both.extend(node.labels.clone());
    both.retain(|key, _| !options.cilium_labels || label::compatible(key));
    both
}

/// The same with what is reserved: what `nodeSelector` is matched against.
pub(crate) fn own_labels(world: &World, node: &ThisNode, options: &Options) -> Labels {
    object_labels(&node_labels(world, node, options), options).with(RESERVED, "host", "")
}

fn claim(
    known: &mut BTreeMap<IpAddr, Identity>,
    world: &World,
    address: IpAddr,
    identity: impl FnOnce(bool) -> Identity,
) {
    let address = address.to_canonical();
    known.entry(address).or_insert_with(|| identity(world.api_servers.contains(&address)));
}

fn reserved(name: &str, is_api_server: bool) -> Labels {
    let mut labels = Labels::default().with(RESERVED, name, "");
    if is_api_server {
        labels.insert(RESERVED, "kube-apiserver", "");
    }
    labels
}

fn object_labels(labels: &BTreeMap<String, String>, options: &Options) -> Labels {
    let mut seen = Labels::default();
    for (key, value) in labels {
        if !options.cilium_labels || label::compatible(key) {
            seen.insert(K8S, key, value);
        }
    }
    seen
}

fn pod_labels(namespace: &str, pod: &Pod, world: &World, options: &Options) -> Labels {
    let mut labels = object_labels(&pod.labels, options);
    labels.insert(K8S, NAMESPACE, namespace);
    labels.insert(K8S, CLUSTER, LOCAL_CLUSTER);
    labels.insert(K8S, SERVICE_ACCOUNT, &pod.service_account);
    // Every namespace bears its own name as a label, even where no object of
    // it is known.
    let named = format!("{NAMESPACE_LABELS}.kubernetes.io/metadata.name");
    labels.insert(K8S, &named, namespace);
    for (key, value) in world.namespaces.get(namespace).into_iter().flatten() {
        labels.insert(K8S, &format!("{NAMESPACE_LABELS}.{key}"), value);
    }
    labels
}
