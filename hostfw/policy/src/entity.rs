//! Entities: roles that policies name instead of addresses. It does not know
//! who plays them; that is `identity`.

use crate::{complaint::Report, fields, text::Node};

macro_rules! entities {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A role.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Entity { $($(#[doc = $doc])+ $name,)+ }

        impl Entity {
            /// Every role.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in a policy.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

entities! {
    /// Everyone.
    All = "all",
    /// Everyone outside the cluster.
    World = "world",
    /// IPv4 addresses outside the cluster.
    WorldIpv4 = "world-ipv4",
    /// IPv6 addresses outside the cluster.
    WorldIpv6 = "world-ipv6",
    /// This node itself.
    Host = "host",
    /// The other nodes.
    RemoteNode = "remote-node",
    /// The API server, wherever it runs.
    KubeApiserver = "kube-apiserver",
    /// Nodes, pods and the API server.
    Cluster = "cluster",
    /// As [`Entity::Cluster`]: there is one cluster.
    ClusterMesh = "cluster-mesh",
    /// Health endpoints, which have no addresses of their own here.
    Health = "health",
    /// Ingress proxies, which have no addresses of their own here.
    Ingress = "ingress",
    /// Starting pods, which have no addresses of their own here.
    Init = "init",
    /// Unmanaged pods, which have no addresses of their own here.
    Unmanaged = "unmanaged",
    /// Nobody.
    None = "none",
}

/// Reads a list of entities.
pub fn read_list(node: &Node, name: &str, report: &mut Report<'_>) -> Vec<Entity> {
    let items = fields::list(node, name, report).unwrap_or_default();
    items.iter().filter_map(|item| read(item, name, report)).collect()
}

fn read(node: &Node, name: &str, report: &mut Report<'_>) -> Option<Entity> {
    let written = fields::text(node, name, report)?;
    let found = Entity::ALL.iter().find(|entity| entity.name() == written);
    if found.is_none() {
        let names: Vec<_> = Entity::ALL.iter().map(|entity| entity.name()).collect();
        let instead = fields::nearest(written, &names)
            .map_or_else(|| format!("one of {}", names.join(", ")), str::to_owned);
        report.error(node.at, "bad-entity", format!("there is no entity `{written}`"), instead);
    }
    found.copied()
}
