//! Policies, world and node as `hostfw policy` sees them: read from files and
//! arguments, compiled by the code that the daemon compiles with.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::bail;
use hostfw_policy::{
    CompileError, Compiled, Options, Policy, Severity, Source, ThisNode, Tunnel, World,
    atlas::Atlas,
    cases::{self, Answers},
    guardrails::{self, read_guardrails},
};

use crate::{
    arguments::{CidrMatch, Circumstances, Compatibility, Enforcement},
    directory,
    failure::Failure,
};

/// Everything that the files say.
pub(crate) struct Files {
    /// The policies as read.
    pub(crate) sources: Vec<Source>,
    /// Accepted documents.
    pub(crate) policies: Vec<Policy>,
    /// Who is who; empty where no directory was named.
    pub(crate) world: World,
    /// Of both directories.
    pub(crate) complaints: Vec<hostfw_api::Complaint>,
    /// Files that were passed over.
    pub(crate) ignored: Vec<hostfw_api::IgnoredFile>,
}

impl Files {
    /// Reads both directories.
    pub(crate) fn read(circumstances: &Circumstances) -> anyhow::Result<Self> {
        let listing = directory::read(&circumstances.policies)?;
        let (policies, complaints) = hostfw_policy::read_enforceable(&listing.sources);
        let mut files = Self {
            sources: listing.sources,
            policies,
            world: World::default(),
            complaints: complaints.into_iter().map(complaint).collect(),
            ignored: listing.ignored,
        };
        if let Some(path) = &circumstances.world {
            let listing = directory::read(path)?;
            let (world, complaints) = hostfw_policy::read_world(&listing.sources);
            files.world = world;
            files.complaints.extend(complaints.into_iter().map(complaint));
            files.ignored.extend(listing.ignored);
        }
        Ok(files)
    }

    /// Reads both directories, which the daemon has to take.
    pub(crate) fn accepted(circumstances: &Circumstances) -> anyhow::Result<Self> {
        let files = Self::read(circumstances)?;
        if files.are_refused() {
            let errors = files.complaints.iter();
            let first = errors
                .filter(|complaint| complaint.severity == hostfw_api::Severity::Error)
                .map(|one| format!("{}:{}: {}", one.path, one.line, one.what))
                .next()
                .unwrap_or_default();
            bail!("the files are refused, see `hostfw policy check`: {first}");
        }
        Ok(files)
    }

    /// The node that `host` means: the named one, or one that nobody knows.
    pub(crate) fn this(
        &self,
        name: Option<&str>,
        circumstances: &Circumstances,
    ) -> Result<ThisNode, Failure> {
        match name {
            Some(name) => self.node(name, circumstances),
            None => Ok(ThisNode {
                addresses: circumstances.addresses.clone(),
                ..bare(UNNAMED, circumstances)
            }),
        }
    }

    /// The images of all nodes.
    pub(crate) fn atlas<'a>(
        &'a self,
        this: &'a ThisNode,
        circumstances: &Circumstances,
    ) -> Atlas<'a> {
        Atlas::new(&self.policies, &self.world, this, &options(circumstances))
    }

    /// True when the daemon would not take the files.
    pub(crate) fn are_refused(&self) -> bool {
        self.complaints.iter().any(|complaint| complaint.severity == hostfw_api::Severity::Error)
    }

    /// The node of a name, with the labels and addresses of the arguments
    /// added.
    pub(crate) fn node(
        &self,
        name: &str,
        circumstances: &Circumstances,
    ) -> Result<ThisNode, Failure> {
        let known = self.world.nodes.get(name);
        if known.is_none() && !self.world.nodes.is_empty() {
            // A typing error here would look like a policy that selects nothing.
            let names: Vec<&str> = self.world.nodes.keys().map(String::as_str).collect();
            let names = names.join(", ");
            return Err(Failure::Usage(format!("no node `{name}` in the world; it has: {names}")));
        }
        let mut addresses = circumstances.addresses.clone();
        addresses.extend(known.into_iter().flat_map(|node| &node.addresses));
        Ok(ThisNode { addresses, ..bare(name, circumstances) })
    }

    /// The address of a peer: its own, or the first of the node or pod of that
    /// name.
    pub(crate) fn peer(&self, text: &str) -> Result<IpAddr, Failure> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let addresses = match text.split_once('/') {
            Some((namespace, name)) => {
                let key = (namespace.to_owned(), name.to_owned());
                self.world.pods.get(&key).map(|pod| &pod.addresses)
            }
            None => self.world.nodes.get(text).map(|node| &node.addresses),
        };
        addresses.and_then(|addresses| addresses.first()).copied().ok_or_else(|| {
            let what = "neither an address nor a node or NAMESPACE/POD of the world";
            Failure::Usage(format!("`{text}` is {what} that has one"))
        })
    }

    /// The policies compiled for a node.
    pub(crate) fn compile(
        &self,
        node: &ThisNode,
        circumstances: &Circumstances,
    ) -> Result<Compiled, CompileError> {
        hostfw_policy::compile(&self.policies, &self.world, node, &options(circumstances), 1)
    }

    /// Warnings about policies and world together, and about the node and its
    /// image where there is one.
    pub(crate) fn warnings(
        &self,
        node: Option<&ThisNode>,
        circumstances: &Circumstances,
        compiled: Option<&Compiled>,
    ) -> Vec<hostfw_api::Complaint> {
        let options = options(circumstances);
        hostfw_policy::lint(&self.sources, &self.policies, &self.world, node, &options, compiled)
            .into_iter()
            .map(complaint)
            .collect()
    }

    /// Rules that contradict each other on the node or on one of its pods;
    /// without a node on any pod.
    pub(crate) fn conflicts(
        &self,
        node: Option<&ThisNode>,
        circumstances: &Circumstances,
    ) -> Vec<hostfw_api::Complaint> {
        let options = options(circumstances);
        hostfw_policy::conflicts(&self.sources, &self.policies, &self.world, node, &options)
            .into_iter()
            .map(complaint)
            .collect()
    }

    /// What becomes of the cases beside the policies: on a node as in its
    /// daemon.
    pub(crate) fn answers(
        &self,
        node: Option<&ThisNode>,
        circumstances: &Circumstances,
    ) -> Answers {
        let options = options(circumstances);
        cases::ask(&self.policies, &self.sources, &self.world, node, &options)
    }

    /// What files of guardrails have against the policies.
    pub(crate) fn held_against(
        &self,
        guardrails: &[Source],
        node: &ThisNode,
        circumstances: &Circumstances,
    ) -> Result<Vec<hostfw_api::Complaint>, CompileError> {
        let (guardrails, mut complaints) = read_guardrails(guardrails);
        let (policies, options) = (&self.policies, options(circumstances));
        let found =
            guardrails::check(&guardrails, &self.sources, policies, &self.world, node, &options)?;
        complaints.extend(found);
        Ok(complaints.into_iter().map(complaint).collect())
    }

    /// For each policy the nodes, out of these, that it selects.
    pub(crate) fn selected<'n>(
        &self,
        nodes: impl Iterator<Item = &'n ThisNode>,
        circumstances: &Circumstances,
    ) -> Result<Vec<Vec<String>>, CompileError> {
        // The compiler is asked, with everything left out that a selector does
        // not see: whom a policy selects must not be known in two places.
        let mut bare_policies = self.policies.clone();
        for policy in &mut bare_policies {
            for spec in Arc::make_mut(&mut policy.specs) {
                spec.rules.clear();
            }
        }
        let options = options(circumstances);
        let mut selected = vec![Vec::new(); bare_policies.len()];
        for node in nodes {
            let own = self.world.nodes.get_key_value(&node.name);
            let own = own.map(|(name, node)| (name.clone(), node.clone()));
            let world = World { nodes: own.into_iter().collect(), ..World::default() };
            let compiled = hostfw_policy::compile(&bare_policies, &world, node, &options, 1)?;
            for (names, status) in selected.iter_mut().zip(&compiled.policies) {
                if status.selects_this_node {
                    names.push(node.name.clone());
                }
            }
        }
        Ok(selected)
    }

    /// Who has an address, in the words of the world.
    pub(crate) fn who(&self, address: IpAddr, node: &ThisNode) -> String {
        let mut who = if node.addresses.contains(&address) {
            format!("this node, {}", node.name)
        } else if let Some((name, _)) =
            self.world.nodes.iter().find(|(_, node)| node.addresses.contains(&address))
        {
            format!("the node {name}")
        } else if let Some(((namespace, name), _)) =
            self.world.pods.iter().find(|(_, pod)| pod.addresses.contains(&address))
        {
            format!("the pod {namespace}/{name}")
        } else {
            "outside the known world".to_owned()
        };
        if self.world.api_servers.contains(&address) {
            who.push_str(", an API server");
        }
        who
    }
}

/// What a node without a name is called behind "the node".
const UNNAMED: &str = "(no --node given)";

/// A node of which only the arguments are known.
pub(crate) fn bare(name: &str, circumstances: &Circumstances) -> ThisNode {
    let labels: BTreeMap<String, String> =
        circumstances.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect();
    let tunnels = circumstances.tunnels.iter().map(|end| Tunnel {
        kind: end.kind,
        port: end.port,
        device: end.kind.name().to_ascii_lowercase(),
    });
    ThisNode { name: name.to_owned(), labels, addresses: Vec::new(), tunnels: tunnels.collect() }
}

/// The options as `hostfw.yaml` would set them.
pub(crate) fn options(circumstances: &Circumstances) -> Options {
    Options {
        cidr_match_nodes: circumstances.cidr_match.contains(&CidrMatch::Nodes),
        cidr_match_pods: circumstances.cidr_match.contains(&CidrMatch::Pods),
        cilium_labels: circumstances.compatibility == Some(Compatibility::Cilium),
        enforcement: match circumstances.enforcement {
            Enforcement::Default => hostfw_policy::Enforcement::Default,
            Enforcement::Always => hostfw_policy::Enforcement::Always,
            Enforcement::Never => hostfw_policy::Enforcement::Never,
        },
        allow_own_tunnels: true,
        allow_dhcp_client: true,
        ..Options::default()
    }
}

/// A complaint as it is shown.
pub(crate) fn complaint(complaint: hostfw_policy::Complaint) -> hostfw_api::Complaint {
    hostfw_api::Complaint {
        path: complaint.path,
        line: complaint.line,
        column: complaint.column,
        severity: match complaint.severity {
            Severity::Error => hostfw_api::Severity::Error,
            Severity::Warning => hostfw_api::Severity::Warning,
        },
        code: complaint.code.to_owned(),
        what: complaint.what,
        instead: complaint.instead,
        excerpt: complaint.excerpt,
    }
}
