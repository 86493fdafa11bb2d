//! Who is who: nodes, pods, namespaces, services, groups of prefixes and the API
//! server, from whatever source. It does not know where these facts come from, and
//! which of them matter to a policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::shared_map::SharedMap;

/// The world around this node; empty for a node without a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Nodes by name, this one included.
    pub nodes: BTreeMap<String, ClusterNode>,
    /// Pods by namespace and name.
    pub pods: SharedMap<(String, String), Arc<Pod>>,
    /// Labels of namespaces by name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Groups of prefixes by name.
    pub cidr_groups: BTreeMap<String, CidrGroup>,
    /// Services by namespace and name.
    pub services: BTreeMap<(String, String), Service>,
    /// Addresses of the API server, on a node or outside.
    pub api_servers: BTreeSet<IpAddr>,
    /// The DNS names that were seen for an address. No file says this: it is
    /// learned.
    pub names: BTreeMap<IpAddr, BTreeSet<String>>,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNode {
    /// Its labels, unfiltered.
    pub labels: BTreeMap<String, String>,
    /// Its own addresses, ascending, each once.
    pub addresses: Vec<IpAddr>,
    /// The prefixes its pods get their addresses from.
    pub pod_cidrs: Vec<IpNet>,
}

/// A pod with addresses of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// What it is one of many of.
    pub workload: Arc<Workload>,
    /// Its addresses, ascending, each once.
    pub addresses: Vec<IpAddr>,
    /// The name of its node, where it is known.
    pub node: Option<String>,
}

/// What pods of one application have in common. There are many pods and few
/// applications, so they share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Their labels, unfiltered.
    pub labels: BTreeMap<String, String>,
    /// Their service account.
    pub service_account: String,
    /// The ports of their containers that have a name.
    pub ports: Vec<ContainerPort>,
}

/// A named port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// Its name, in lower case.
    pub name: String,
    /// IANA number.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

/// A Service and who stands behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The labels of its pods; empty where somebody else names its endpoints.
    pub selector: BTreeMap<String, String>,
    /// The addresses of its Endpoints and EndpointSlices.
    pub addresses: BTreeSet<IpAddr>,
}

/// A CiliumCIDRGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrGroup {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its prefixes.
    pub cidrs: Vec<IpNet>,
}
