//! What is known of the node that an image is for, and how it wants its policies
//! applied. It knows no policy and no other node.

use std::{collections::BTreeMap, net::IpAddr};

/// What is known of the node that the image is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThisNode {
    /// Its name; the Node object of that name, where there is one, is its own.
    pub name: String,
    /// Labels on top of those of its Node object.
    pub labels: BTreeMap<String, String>,
    /// The addresses on its devices.
    pub addresses: Vec<IpAddr>,
    /// The tunnels that end here.
    pub tunnels: Vec<Tunnel>,
}

/// A tunnel that ends on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Its protocol.
    pub kind: TunnelKind,
    /// The UDP port of the outer packets.
    pub port: u16,
    /// The device it ends at.
    pub device: String,
}

/// The protocol of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelKind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// WireGuard.
    WireGuard,
}

impl TunnelKind {
    /// The name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Geneve => "Geneve",
            Self::WireGuard => "WireGuard",
        }
    }
}

/// What the language allows; a reader of documents asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Protocols without ports may be written without a port.
    pub extended_protocols: bool,
    /// So may those that have ports; every port is meant then.
    pub missing_ports: bool,
    /// `fromNodes` and `toNodes` exist.
    pub node_selectors: bool,
    /// Peers are those of this cluster where nothing else is said.
    pub default_local_cluster: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            extended_protocols: true,
            // Who forgot the port did not mean every one.
            missing_ports: false,
            node_selectors: true,
            default_local_cluster: true,
        }
    }
}

/// How policies are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Prefixes match addresses of nodes too.
    pub cidr_match_nodes: bool,
    /// Prefixes match addresses of pods too.
    pub cidr_match_pods: bool,
    /// Labels are filtered as the reference filters them.
    pub cilium_labels: bool,
    /// What puts a direction in force.
    pub enforcement: Enforcement,
    /// Tunnels of this node with known nodes are allowed.
    pub allow_own_tunnels: bool,
    /// DHCP of this node is allowed.
    pub allow_dhcp_client: bool,
    /// Pods of this node are subjects too.
    pub pods: bool,
    /// Policies for nodes have an effect.
    pub host_policies: bool,
    /// This host may reach its own pods where nothing denies it.
    pub allow_local_host: bool,
    /// `enableDefaultDeny: false` has an effect.
    pub honour_default_deny: bool,
    /// Only IPv4 exists: the world is one, and has no families.
    pub single_stack: bool,
}

impl Default for Options {
    /// Nothing is added for this node, and everything written has its effect.
    fn default() -> Self {
        Self {
            cidr_match_nodes: false,
            cidr_match_pods: false,
            cilium_labels: false,
            enforcement: Enforcement::Default,
            allow_own_tunnels: false,
            allow_dhcp_client: false,
            pods: false,
            host_policies: true,
            allow_local_host: true,
            honour_default_deny: true,
            single_stack: false,
        }
    }
}

/// What puts a direction in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// A rule that selects this node.
    #[default]
    Default,
    /// Nothing is needed: both directions deny what no rule allows.
    Always,
    /// Nothing can: all is allowed.
    Never,
}
