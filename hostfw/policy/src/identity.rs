//! Who a peer is: this host, another node, a pod, the API server, a role without
//! an address, or the world outside; and which addresses are known to be whose.
//! It knows nothing of rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use rustc_hash::FxHashMap;

use crate::{
    entity::Entity,
    label::{
        self, CLUSTER, K8S, LOCAL_CLUSTER, Labels, NAMESPACE, NAMESPACE_LABELS, RESERVED,
        SERVICE_ACCOUNT,
    },
    node::{Options, ThisNode},
    world::{ClusterNode, ContainerPort, Pod, World},
};

/// Everything about a peer that rules can ask, its own address left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) kind: Kind,
    pub(crate) is_api_server: bool,
    /// What `fromEndpoints` selects by.
    pub(crate) labels: Labels,
    /// What `fromNodes` selects by.
    pub(crate) node_labels: Option<Labels>,
    /// The named ports of a pod.
    pub(crate) ports: Vec<ContainerPort>,
}

/// The kind of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// This host.
    Host,
    /// Another node.
    RemoteNode,
    /// A pod with an address of its own.
    Pod,
    /// A role that has no address here.
    Placeless(Entity),
    /// Everyone else, an API server outside the cluster included.
    Outside {
        /// The family of the address.
        is_v4: bool,
    },
}

/// Roles of the cluster that have no address of their own.
pub(crate) const PLACELESS: [Entity; 4] =
    [Entity::Health, Entity::Ingress, Entity::Init, Entity::Unmanaged];

impl Identity {
    /// Whoever has an address that nobody in the world claims.
    pub(crate) fn world(is_v4: bool, options: &Options) -> Self {
        let name = match (options.single_stack, is_v4) {
            (true, _) => "world",
            (false, true) => "world-ipv4",
            (false, false) => "world-ipv6",
        };
        Self::reserved(Kind::Outside { is_v4 }, name, false)
    }

    /// Whoever plays a role that has no address.
    pub(crate) fn placeless(entity: Entity) -> Self {
        Self::reserved(Kind::Placeless(entity), entity.name(), false)
    }

    fn reserved(kind: Kind, name: &str, is_api_server: bool) -> Self {
        let mut labels = Labels::default().with(RESERVED, name, "");
        if is_api_server {
            labels.insert(RESERVED, "kube-apiserver", "");
        }
        Self { kind, is_api_server, labels, node_labels: None, ports: Vec::new() }
    }

    pub(crate) fn remote_node(node: &ClusterNode, is_api_server: bool, options: &Options) -> Self {
        Self {
            node_labels: Some(object_labels(&node.labels, options)),
            ..Self::reserved(Kind::RemoteNode, "remote-node", is_api_server)
        }
    }

    pub(crate) fn pod(namespace: &str, pod: &Pod, world: &World, options: &Options) -> Self {
        Self {
            kind: Kind::Pod,
            is_api_server: false,
            labels: pod_labels(namespace, pod, world, options),
            node_labels: None,
            ports: pod.workload.ports.clone(),
        }
    }

    pub(crate) fn plays(&self, entity: Entity, options: &Options) -> bool {
        let outside = matches!(self.kind, Kind::Outside { .. });
        match entity {
            Entity::All => true,
            Entity::World => outside,
            Entity::WorldIpv4 => {
                self.kind == Kind::Outside { is_v4: true } && !options.single_stack
            }
            Entity::WorldIpv6 => {
                self.kind == Kind::Outside { is_v4: false } && !options.single_stack
            }
            Entity::Host => self.kind == Kind::Host,
            Entity::RemoteNode => self.kind == Kind::RemoteNode,
            Entity::KubeApiserver => self.is_api_server,
            Entity::Cluster | Entity::ClusterMesh => !outside || self.is_api_server,
            Entity::Health | Entity::Ingress | Entity::Init | Entity::Unmanaged => {
                self.kind == Kind::Placeless(entity)
            }
            Entity::None => false,
        }
    }

    /// Whether rules match this identity by prefix.
    pub(crate) fn has_prefixes(&self, options: &Options) -> bool {
        match self.kind {
            Kind::Outside { .. } => true,
            Kind::Host | Kind::RemoteNode => options.cidr_match_nodes,
            Kind::Pod => options.cidr_match_pods,
            Kind::Placeless(_) => false,
        }
    }
}

/// The number of an identity within [`Known::identities`].
pub(crate) type IdentityId = usize;

/// Who has which address, as far as the world knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Every identity.
    pub(crate) identities: Vec<Identity>,
    /// Whose an address is, ascending.
    pub(crate) addresses: Vec<(IpAddr, IdentityId)>,
    /// Addresses that two claim.
    pub(crate) contested: BTreeSet<IpAddr>,
}

impl Known {
    /// Where two claim one address, the host comes first, then nodes, then pods.
    pub(crate) fn of(world: &World, node: &ThisNode, options: &Options) -> Self {
        let mut known = Self::default();
        // What is alike has one identity, made once.
        let mut hosts = FxHashMap::default();
        let own = world.nodes.get(&node.name).map(|own| &own.addresses);
        for address in node.addresses.iter().chain(own.into_iter().flatten()) {
            let is_api_server = world.api_servers.contains(&address.to_canonical());
            let number = *hosts.entry(is_api_server).or_insert_with(|| {
                known.add(Identity::reserved(Kind::Host, "host", is_api_server))
            });
            known.addresses.push((address.to_canonical(), number));
        }
        let mut nodes = FxHashMap::default();
        for (_, other) in world.nodes.iter().filter(|(name, _)| **name != node.name) {
            for address in &other.addresses {
                let is_api_server = world.api_servers.contains(&address.to_canonical());
                let number = *nodes.entry((&other.labels, is_api_server)).or_insert_with(|| {
                    known.add(Identity::remote_node(other, is_api_server, options))
                });
                known.addresses.push((address.to_canonical(), number));
            }
        }
        let mut pods = FxHashMap::default();
        for ((namespace, _), pod) in &world.pods {
            let key = (namespace, &pod.workload);
            let number = *pods
                .entry(key)
                .or_insert_with(|| known.add(Identity::pod(namespace, pod, world, options)));
            known.addresses.extend(pod.addresses.iter().map(|one| (one.to_canonical(), number)));
        }
        let mut families = FxHashMap::default();
        for address in &world.api_servers {
            let is_v4 = address.is_ipv4();
            let number = *families.entry(is_v4).or_insert_with(|| {
                let mut outside = Identity::world(is_v4, options);
                outside.is_api_server = true;
                outside.labels.insert(RESERVED, "kube-apiserver", "");
                known.add(outside)
            });
            known.addresses.push((address.to_canonical(), number));
        }
        // The sort is stable, so the first claim comes first.
        known.addresses.sort_by_key(|(address, _)| *address);
        let contested = &mut known.contested;
        known.addresses.dedup_by(|(address, _), (before, _)| {
            let is_second = address == before;
            if is_second {
                contested.insert(*address);
            }
            is_second
        });
        known
    }

    fn add(&mut self, identity: Identity) -> IdentityId {
        self.identities.push(identity);
        self.identities.len() - 1
    }
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

fn object_labels(labels: &BTreeMap<String, String>, options: &Options) -> Labels {
    let mut seen = Labels::default();
    for (key, value) in labels {
        if !options.cilium_labels || label::compatible(key) {
            seen.insert(K8S, key, value);
        }
    }
    seen
}

/// What selectors see of a pod (rule 3).
pub(crate) fn pod_labels(namespace: &str, pod: &Pod, world: &World, options: &Options) -> Labels {
    let mut labels = object_labels(&pod.workload.labels, options);
    labels.insert(K8S, NAMESPACE, namespace);
    labels.insert(K8S, CLUSTER, LOCAL_CLUSTER);
    labels.insert(K8S, SERVICE_ACCOUNT, &pod.workload.service_account);
    // Every namespace bears its own name as a label, even where no object of
    // it is known.
    let named = format!("{NAMESPACE_LABELS}.kubernetes.io/metadata.name");
    labels.insert(K8S, &named, namespace);
    for (key, value) in world.namespaces.get(namespace).into_iter().flatten() {
        labels.insert(K8S, &format!("{NAMESPACE_LABELS}.{key}"), value);
    }
    labels
}
