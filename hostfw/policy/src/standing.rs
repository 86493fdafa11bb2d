//! An image that follows the pods and the nodes of its world. They come and go
//! all the time, and a whole compilation for each would be mostly the same work
//! again: only their addresses, the class of their labels, and for a local pod
//! its place among the subjects change. The new image shares what it can with
//! the one before, and answers every question as a whole compilation would.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hostfw_datapath::{
    Address,
    image::{self, ELSEWHERE, LOCAL},
};

use crate::{
    compilation::Compilation,
    compile::CompileError,
    compiled::{Compiled, Subject, SubjectName},
    encode::trie,
    identity::{Identity, pod_labels},
    matrix::Matrix,
    node::{Options, ThisNode},
    peers::flags,
    policy::Policy,
    rule_set::SetId,
    world::{ClusterNode, Pod, World},
};

/// Words that nothing reads any more, beside those of a whole compilation.
const MAX_SPARE_WORDS: usize = 1 << 20;

/// A generation together with what is needed to make the next one of it.
#[derive(Debug)]
pub struct Standing {
    compilation: Compilation,
    compiled: Compiled,
    /// Words of the image when it was compiled as a whole.
    n_words: usize,
}

/// A pod that came, went or changed.
#[derive(Clone, Copy, Debug)]
pub struct PodChange<'w> {
    /// Its namespace.
    pub namespace: &'w str,
    /// Its name.
    pub name: &'w str,
    /// As it was.
    pub before: Option<&'w Pod>,
    /// As it is.
    pub after: Option<&'w Pod>,
}

/// A node that came, went or changed.
#[derive(Clone, Copy, Debug)]
pub struct NodeChange<'w> {
    /// Its name.
    pub name: &'w str,
    /// As it was.
    pub before: Option<&'w ClusterNode>,
    /// As it is.
    pub after: Option<&'w ClusterNode>,
}

/// What an image can follow.
#[derive(Clone, Debug, Default)]
pub struct Changes<'w> {
    /// Pods that are not as they were.
    pub pods: Vec<PodChange<'w>>,
    /// Nodes that are not as they were.
    pub nodes: Vec<NodeChange<'w>>,
}

/// The pods and nodes that differ between two worlds; `None` where anything else
/// does.
pub fn changes<'w>(before: &'w World, after: &'w World) -> Option<Changes<'w>> {
    let World { nodes, pods, namespaces, cidr_groups, services, api_servers, names } = before;
    let is_same = *namespaces == after.namespaces
        && *cidr_groups == after.cidr_groups
        && *services == after.services
        && *api_servers == after.api_servers
        && *names == after.names;
    if !is_same {
        return None;
    }
    let differences = pods.differences(&after.pods).into_iter();
    let change = |((namespace, name), before, after): PodDifference<'w>| PodChange {
        namespace,
        name,
        before: before.map(Arc::as_ref),
        after: after.map(Arc::as_ref),
    };
    let pods = differences.map(change).collect();
    let known = nodes.iter().map(|(name, node)| (name, Some(node), after.nodes.get(name)));
    let new = after.nodes.iter().filter(|(name, _)| !nodes.contains_key(*name));
    let all = known.chain(new.map(|(name, node)| (name, None, Some(node))));
    let nodes = all
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| NodeChange { name, before, after })
        .collect();
    Some(Changes { pods, nodes })
}

type PodDifference<'w> = (&'w (String, String), Option<&'w Arc<Pod>>, Option<&'w Arc<Pod>>);

impl Standing {
    /// Compiles the policies for one node, as [`crate::compile`] does.
    ///
    /// # Errors
    /// As there.
    pub fn new(
        policies: &[Policy],
        world: &World,
        node: &ThisNode,
        options: &Options,
        generation: u32,
    ) -> Result<Self, CompileError> {
        let (compilation, compiled) = Compilation::new(policies, world, node, options, generation)?;
        let mut standing = Self { compilation, compiled, n_words: 0 };
        standing.publish();
        standing.n_words = standing.compiled.words.len();
        Ok(standing)
    }

    /// The generation.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The next generation, where only pods and nodes differ: `world` is what it
    /// is after the changes, and all else is as it was. `None` when the change
    /// goes deeper than an image can follow, and everything has to be compiled:
    /// this node, a pod of it that no other one here is like, an address that two
    /// claim, a port that got another meaning.
    #[must_use]
    pub fn follow(
        mut self,
        changes: &Changes<'_>,
        world: &World,
        node: &ThisNode,
        options: &Options,
        generation: u32,
    ) -> Option<Self> {
        if changes.nodes.iter().any(|change| change.name == node.name) {
            return None;
        }
        std::mem::swap(&mut self.compilation.sets, &mut self.compiled.verdicts.sets);
        let n_classes = self.compilation.classes.sets.len();
        self.place(changes, world, options)?;
        let grown = self.grow(n_classes).ok()?;
        let listed =
            if options.pods { self.list(&changes.pods, world, node, options)? } else { false };
        let compilation = &mut self.compilation;
        if grown || listed {
            compilation.write_subjects().ok()?;
        }
        if compilation.verdicts.of_verdict.len() > self.compiled.verdicts.of_verdict.len() {
            compilation.write_verdicts().ok()?;
        }
        compilation.finish(generation);
        self.publish();
        (self.compiled.words.len() <= self.n_words.saturating_mul(2) + MAX_SPARE_WORDS)
            .then_some(self)
    }

    /// Hands out what was written.
    fn publish(&mut self) {
        let Self { compilation, compiled, .. } = self;
        std::mem::swap(&mut compilation.sets, &mut compiled.verdicts.sets);
        compiled.words = compilation.writer.share();
        let known = compiled.verdicts.of_verdict.len();
        let new = compilation.verdicts.of_verdict.get(known..).unwrap_or_default();
        compiled.verdicts.of_verdict.extend_from_slice(new);
    }

    /// Gives addresses their new words.
    fn place(&mut self, changes: &Changes<'_>, world: &World, options: &Options) -> Option<()> {
        let Changes { pods, nodes } = changes;
        let of_pods = pods.iter().filter_map(|change| change.before).map(|pod| &pod.addresses);
        let of_nodes = nodes.iter().filter_map(|change| change.before).map(|node| &node.addresses);
        let left: BTreeSet<IpAddr> =
            of_pods.chain(of_nodes).flatten().map(IpAddr::to_canonical).collect();
        let mut come = Vec::new();
        for change in pods {
            let Some(pod) = change.after else { continue };
            if !pod.workload.ports.iter().all(|port| self.compilation.peer_ports.knows(port)) {
                return None;
            }
            come.push((Identity::pod(change.namespace, pod, world, options), &pod.addresses));
        }
        // One that is the API server too is refused below.
        let of_nodes = nodes.iter().filter_map(|change| change.after);
        come.extend(
            of_nodes.map(|node| (Identity::remote_node(node, false, options), &node.addresses)),
        );
        let mut taken: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for (identity, addresses) in &come {
            for address in addresses.iter().map(IpAddr::to_canonical) {
                let is_free = left.contains(&address) || self.is_nobodys(address);
                if !is_free || taken.contains_key(&address) {
                    return None;
                }
                let word = self.word(identity, address, identity.has_prefixes(options))?;
                taken.insert(address, word);
            }
        }
        for address in &left {
            if !taken.contains_key(address) {
                let outside = Identity::world(address.is_ipv4(), options);
                let word = self.word(&outside, *address, true)?;
                taken.insert(*address, word);
            }
        }
        let is_open = |address: &IpAddr| {
            !self.compilation.contested.contains(address) && !world.api_servers.contains(address)
        };
        if !taken.keys().all(is_open) {
            return None;
        }
        let writer = &mut self.compilation.writer;
        for (address, word) in taken {
            trie::set(writer, address, word).ok()?;
        }
        Some(())
    }

    fn is_nobodys(&self, address: IpAddr) -> bool {
        let word = image::peer(&self.compilation.writer.all(), &Address::from(address));
        word & (LOCAL | ELSEWHERE) == 0
    }

    /// The peer word of an address.
    fn word(&mut self, identity: &Identity, address: IpAddr, prefixes: bool) -> Option<u32> {
        let Compilation { index, term_sets, classes, .. } = &mut self.compilation;
        let mut set = index.set_of(identity, term_sets);
        if prefixes {
            set = index.covering(address).fold(set, |set, term| term_sets.with(set, term));
        }
        Some(classes.number(set).ok()? | flags(identity.kind))
    }

    /// Gives classes from a number on their rows; says whether any subject is
    /// concerned.
    fn grow(&mut self, first: usize) -> Result<bool, CompileError> {
        let sets: Vec<SetId> =
            self.compilation.classes.sets.get(first..).unwrap_or_default().to_vec();
        let end = u64::try_from(first + sets.len()).unwrap_or(u64::MAX);
        let mut any = false;
        for profile in 0..self.compilation.profiles.len() {
            for direction in 0..2 {
                any |= self.grow_direction(profile, direction, first, &sets, end)?;
            }
        }
        Ok(any)
    }

    fn grow_direction(
        &mut self,
        profile: usize,
        direction: usize,
        first: usize,
        sets: &[SetId],
        end: u64,
    ) -> Result<bool, CompileError> {
        let compilation = &mut self.compilation;
        let Compilation { term_sets: terms, ports, sets: parts, table, profiles, .. } = compilation;
        let written = profiles.get(profile).and_then(|one| one.directions.get(direction));
        let Some(written) = written else { return Ok(false) };
        if end > written.placed.room {
            // Another level is another tree, a longer matrix another one.
            return Err(CompileError::TooLarge);
        }
        let rows = Matrix { terms, ports, sets: parts, table }.rows(&written.uses, sets)?;
        let (force, mut placed, mut any) = (written.force, written.placed, false);
        let empty = compilation.table.empty();
        for (class, row) in (first..).zip(rows).filter(|(_, row)| *row != empty) {
            let class = u32::try_from(class).unwrap_or(u32::MAX);
            placed = compilation.tree(force).with_row(placed, class, row)?;
            any = true;
        }
        let written =
            compilation.profiles.get_mut(profile).and_then(|one| one.directions.get_mut(direction));
        if let Some(written) = written {
            written.placed = placed;
        }
        Ok(any)
    }

    /// Takes pods of this node into the list of subjects and out of it; says
    /// whether there were any.
    fn list(
        &mut self,
        changes: &[PodChange<'_>],
        world: &World,
        node: &ThisNode,
        options: &Options,
    ) -> Option<bool> {
        let is_here = |pod: &&Pod| pod.node.as_ref() == Some(&node.name);
        let mut any = false;
        for PodChange { namespace, name, before, after } in changes {
            let subject =
                SubjectName::Pod { namespace: (*namespace).to_owned(), name: (*name).to_owned() };
            let profile = |pod: &Pod| {
                let labels = pod_labels(namespace, pod, world, options);
                self.compilation.finder.find(&labels, &pod.workload.ports)
            };
            if let Some(pod) = before.filter(is_here) {
                let (_, policies) = profile(pod)?;
                let at = self.compiled.subjects.iter().position(|one| one.name == subject)?;
                self.compiled.subjects.remove(at);
                self.compilation.subjects.remove(at);
                self.count(&policies, |n_pods| n_pods.saturating_sub(1));
                any = true;
            }
            if let Some(pod) = after.filter(is_here) {
                let labels = pod_labels(namespace, pod, world, options);
                let (profile, policies) =
                    self.compilation.finder.find(&labels, &pod.workload.ports)?;
                let [ingress, egress] = &self.compilation.profiles.get(profile)?.directions;
                let [ingress_in_force, egress_in_force] =
                    [ingress, egress].map(|one| one.force.in_force);
                let at = self.compiled.subjects.partition_point(|one| one.name < subject);
                let subject = Subject { name: subject, ingress_in_force, egress_in_force };
                self.compiled.subjects.insert(at, subject);
                self.compilation.subjects.insert(at, profile);
                self.count(&policies, |n_pods| n_pods + 1);
                any = true;
            }
        }
        Some(any)
    }

    fn count(&mut self, policies: &[usize], change: impl Fn(usize) -> usize) {
        for policy in policies {
            if let Some(status) = self.compiled.policies.get_mut(*policy) {
                status.n_pods = change(status.n_pods);
            }
        }
    }
}
