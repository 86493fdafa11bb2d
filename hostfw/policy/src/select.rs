//! Which rules concern this host and its pods, what they put in force, and how
//! listings name them. It looks at subjects only; peers and services come later.

use std::{borrow::Cow, sync::Arc};

use hostfw_datapath::{Direction, verdict::Answer};

use rustc_hash::FxHashMap;

use crate::{
    builtin,
    compiled::{PolicyStatus, Rule, RuleKind, SubjectName},
    existing::ExistingConnections,
    identity,
    label::Labels,
    node::{Enforcement, Options, ThisNode},
    policy::{Action, Policy, PolicyRule, Spec, Stance, Subjects, Tier},
    selector_index::SelectorIndex,
    text::fingerprint,
    world::{ContainerPort, World},
};

/// The name of the policy that built-in rules belong to.
const BUILT_IN: &str = "built-in";

/// What is in force in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Force {
    pub(crate) in_force: bool,
    /// The answer where no rule matches.
    pub(crate) default: Answer,
}

/// A rule in its tier.
pub(crate) struct SelectedRule<'p> {
    /// As listings show it.
    pub(crate) listed: Rule,
    /// `None` for what follows all tiers.
    pub(crate) tier: Option<Tier>,
    /// As it was written.
    pub(crate) rule: Cow<'p, PolicyRule>,
}

/// What concerns one subject. Pods with equal labels and ports share it.
pub(crate) struct Profile {
    /// Its rules, ascending.
    pub(crate) rules: Vec<usize>,
    /// The named ports of a pod.
    pub(crate) ports: Vec<ContainerPort>,
    pub(crate) ingress: Force,
    pub(crate) egress: Force,
}

/// The rules that concern anyone here, and what follows from them.
pub(crate) struct Selected<'p> {
    /// Finds the profile of a pod.
    pub(crate) finder: ProfileFinder,
    pub(crate) rules: Vec<SelectedRule<'p>>,
    pub(crate) policies: Vec<PolicyStatus>,
    pub(crate) profiles: Vec<Profile>,
    /// Every subject and its profile; this host first.
    pub(crate) subjects: Vec<(SubjectName, usize)>,
}

pub(crate) fn select<'p>(
    policies: &'p [Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> Selected<'p> {
    let specs: Vec<(&Policy, &Spec)> = policies
        .iter()
        .flat_map(|policy| policy.specs.iter().map(move |spec| (policy, spec)))
        .collect();
    let labels = identity::own_labels(world, node, options);
    let mut candidates = vec![of_node(Kind::Host, &specs, &labels, options)];
    let mut subjects = vec![(SubjectName::Host, 0)];
    let forward = of_node(Kind::Forward, &specs, &labels, options);
    if !forward.specs.is_empty() {
        candidates.push(forward);
        subjects.push((SubjectName::Forward, 1));
    }
    let mut finder = ProfileFinder::new(policies, &specs, options);
    if options.pods {
        pods(&mut finder, world, node, options, &mut candidates, &mut subjects);
    }

    // Ids follow the documents, so rules are taken in their order.
    let mut rules: Vec<SelectedRule<'p>> = Vec::new();
    let mut of_spec: Vec<std::ops::Range<usize>> = Vec::with_capacity(specs.len());
    for (number, (policy, spec)) in specs.iter().enumerate() {
        let start = rules.len();
        if candidates.iter().any(|one| one.specs.binary_search(&number).is_ok()) {
            let names = [policy.name.as_str(), policy.path.as_str()].map(Arc::from);
            for rule in &spec.rules {
                let listed = listed(rules.len(), &names, rule);
                rules.push(SelectedRule {
                    listed,
                    tier: Some(spec.tier),
                    rule: Cow::Borrowed(rule),
                });
            }
        }
        of_spec.push(start..rules.len());
    }
    let n_written = rules.len();
    for rule in builtin::rules(node, options) {
        rules.push(built_in(rules.len(), RuleKind::BuiltIn, Some(Tier::Normal), rule));
    }
    let for_host = n_written..rules.len();
    if options.pods && options.allow_local_host {
        rules.push(built_in(rules.len(), RuleKind::LocalHost, None, builtin::local_host()));
    }
    let for_pods = for_host.end..rules.len();
    tell_apart(rules.iter_mut().map(|rule| &mut rule.listed.hash));

    let profiles = candidates
        .iter()
        .map(|one| profile(one, &specs, &of_spec, [&for_host, &for_pods], options))
        .collect();
    let policies = statuses(policies, &specs, &candidates, &subjects);
    Selected { finder, rules, policies, profiles, subjects }
}

/// Someone whom specs may select.
struct Candidate {
    kind: Kind,
    ports: Vec<ContainerPort>,
    /// The specs that do, ascending.
    specs: Vec<usize>,
}

/// What kind of a subject it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Forward,
    Pod,
}

/// This host, or what it forwards.
fn of_node(
    kind: Kind,
    specs: &[(&Policy, &Spec)],
    labels: &Labels,
    options: &Options,
) -> Candidate {
    let selects = |spec: &Spec| match (&spec.subjects, kind) {
        (Subjects::Nodes(selector), Kind::Host)
        | (Subjects::Forwarded(selector), Kind::Forward) => {
            options.host_policies && selector.selects(labels)
        }
        _ => false,
    };
    let specs = specs.iter().enumerate().filter(|(_, (_, spec))| selects(spec));
    Candidate { kind, ports: Vec::new(), specs: specs.map(|(number, _)| number).collect() }
}

/// Finds the profile of a pod: that of any other one that the same specs select
/// and that has the same named ports.
#[derive(Debug, Default)]
pub(crate) struct ProfileFinder {
    index: SelectorIndex,
    /// The policy of every spec.
    policies: Vec<usize>,
    known: FxHashMap<(Vec<usize>, Vec<ContainerPort>), usize>,
}

impl ProfileFinder {
    fn new(policies: &[Policy], specs: &[(&Policy, &Spec)], options: &Options) -> Self {
        if !options.pods {
            return Self::default();
        }
        let selectors =
            specs.iter().zip(0u32..).filter_map(|((_, spec), number)| match &spec.subjects {
                Subjects::Pods(selector) => Some((selector.clone(), number)),
                Subjects::Nodes(_) | Subjects::Forwarded(_) => None,
            });
        let index = SelectorIndex::new(selectors.collect());
        let policies = policies.iter().enumerate();
        let policies =
            policies.flat_map(|(number, policy)| policy.specs.iter().map(move |_| number));
        Self { index, policies: policies.collect(), known: FxHashMap::default() }
    }

    /// The specs that select a pod, ascending.
    fn specs(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.index.selecting(labels, &mut found);
        let mut specs: Vec<usize> =
            found.into_iter().filter_map(|number| usize::try_from(number).ok()).collect();
        specs.sort_unstable();
        specs.dedup();
        specs
    }

    /// The profile of a pod, where there is one, and the policies that select
    /// it, ascending.
    pub(crate) fn find(
        &self,
        labels: &Labels,
        ports: &[ContainerPort],
    ) -> Option<(usize, Vec<usize>)> {
        let specs = self.specs(labels);
        let mut policies: Vec<usize> =
            specs.iter().filter_map(|spec| self.policies.get(*spec)).copied().collect();
        policies.dedup();
        let profile = *self.known.get(&(specs, ports.to_vec()))?;
        Some((profile, policies))
    }
}

fn pods(
    finder: &mut ProfileFinder,
    world: &World,
    node: &ThisNode,
    options: &Options,
    candidates: &mut Vec<Candidate>,
    subjects: &mut Vec<(SubjectName, usize)>,
) {
    for ((namespace, name), pod) in &world.pods {
        if pod.node.as_ref() != Some(&node.name) {
            continue;
        }
        let labels = identity::pod_labels(namespace, pod, world, options);
        let specs = finder.specs(&labels);
        let key = (specs, pod.workload.ports.clone());
        let number = *finder.known.entry(key).or_insert_with_key(|(specs, ports)| {
            let (specs, ports) = (specs.clone(), ports.clone());
            candidates.push(Candidate { kind: Kind::Pod, ports, specs });
            candidates.len() - 1
        });
        let (namespace, name) = (namespace.clone(), name.clone());
        subjects.push((SubjectName::Pod { namespace, name }, number));
    }
}

/// What the specs of a candidate come to.
fn profile(
    candidate: &Candidate,
    specs: &[(&Policy, &Spec)],
    of_spec: &[std::ops::Range<usize>],
    [for_host, for_pods]: [&std::ops::Range<usize>; 2],
    options: &Options,
) -> Profile {
    let mut rules = Vec::new();
    let mut stances = [Stance::Untouched; 2];
    let mut has_ingress_rule = false;
    for number in &candidate.specs {
        let (Some((_, spec)), Some(range)) = (specs.get(*number), of_spec.get(*number)) else {
            continue;
        };
        rules.extend(range.clone());
        has_ingress_rule |= spec.ingress != Stance::Untouched;
        for (stance, direction) in stances.iter_mut().zip([Direction::Ingress, Direction::Egress]) {
            let written = match spec.stance(direction) {
                Stance::InForce if spec.tier == Tier::Normal && !options.honour_default_deny => {
                    Stance::DefaultDeny
                }
                written @ (Stance::Untouched | Stance::InForce | Stance::DefaultDeny) => written,
            };
            *stance = written.max(*stance);
        }
    }
    // Without host policies nothing concerns the node, whatever is enforced.
    let is_judged = options.host_policies || candidate.kind == Kind::Pod;
    let force = |stance: Stance| match options.enforcement {
        _ if !is_judged => Force { in_force: false, default: Answer::DefaultAllow },
        Enforcement::Default => Force {
            in_force: stance != Stance::Untouched,
            default: if stance == Stance::DefaultDeny {
                Answer::DefaultDeny
            } else {
                Answer::DefaultAllow
            },
        },
        Enforcement::Always => Force { in_force: true, default: Answer::DefaultDeny },
        Enforcement::Never => Force { in_force: false, default: Answer::DefaultAllow },
    };
    let [ingress, egress] = stances.map(force);
    if candidate.kind == Kind::Host {
        rules.extend(for_host.clone());
    } else if candidate.kind == Kind::Pod
        && ingress.default == Answer::DefaultDeny
        && (options.enforcement != Enforcement::Always || has_ingress_rule)
    {
        rules.extend(for_pods.clone());
    }
    Profile { rules, ports: candidate.ports.clone(), ingress, egress }
}

fn statuses(
    policies: &[Policy],
    specs: &[(&Policy, &Spec)],
    candidates: &[Candidate],
    subjects: &[(SubjectName, usize)],
) -> Vec<PolicyStatus> {
    let mut n_pods = vec![0; candidates.len()];
    for (_, number) in subjects.iter().skip(1) {
        if let Some(count) = n_pods.get_mut(*number) {
            *count += 1;
        }
    }
    let mut first_spec = 0;
    let mut statuses = Vec::with_capacity(policies.len());
    for policy in policies {
        let own = first_spec..first_spec + policy.specs.len();
        first_spec = own.end;
        debug_assert!(specs.len() >= own.end);
        let selects = |one: &Candidate| one.specs.iter().any(|spec| own.contains(spec));
        statuses.push(PolicyStatus {
            name: policy.name.clone(),
            path: policy.path.clone(),
            line: policy.at.line,
            existing: ExistingConnections::of(&policy.annotations),
            selects_this_node: candidates.iter().any(|one| one.kind != Kind::Pod && selects(one)),
            n_pods: candidates
                .iter()
                .zip(&n_pods)
                .filter(|(one, _)| one.kind == Kind::Pod && selects(one))
                .map(|(_, n_pods)| n_pods)
                .sum(),
        });
    }
    statuses
}

fn built_in(
    index: usize,
    kind: RuleKind,
    tier: Option<Tier>,
    rule: PolicyRule,
) -> SelectedRule<'static> {
    let listed = Rule {
        id: id(index),
        policy: BUILT_IN.into(),
        path: Arc::default(),
        line: 0,
        column: 0,
        direction: rule.direction,
        kind,
        summary: Arc::clone(&rule.summary),
        hash: hash(BUILT_IN, &rule),
    };
    SelectedRule { listed, tier, rule: Cow::Owned(rule) }
}

fn listed(index: usize, [policy, path]: &[Arc<str>; 2], rule: &PolicyRule) -> Rule {
    Rule {
        id: id(index),
        policy: Arc::clone(policy),
        path: Arc::clone(path),
        line: rule.at.line,
        column: rule.at.column,
        direction: rule.direction,
        kind: match rule.action {
            Action::Allow => RuleKind::Allow,
            Action::Deny => RuleKind::Deny,
            Action::Pass => RuleKind::Pass,
        },
        summary: Arc::clone(&rule.summary),
        hash: hash(policy, rule),
    }
}

fn hash(policy: &str, rule: &PolicyRule) -> u64 {
    let list =
        [u8::from(rule.direction == Direction::Egress), u8::from(rule.action == Action::Deny)];
    fingerprint(fingerprint(rule.fingerprint, policy.as_bytes()), &list)
}

/// Gives the second and later of equal hashes one of their own, in order.
fn tell_apart<'r>(hashes: impl Iterator<Item = &'r mut u64>) {
    let mut seen: FxHashMap<u64, u64> = FxHashMap::default();
    for hash in hashes {
        let before = seen.entry(*hash).or_default();
        *before += 1;
        if *before > 1 {
            *hash = fingerprint(*hash, &before.to_le_bytes());
        }
    }
}

fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rules_are_told_apart_the_same_way_each_time() {
        let apart = |mut hashes: [u64; 5]| {
            tell_apart(hashes.iter_mut());
            hashes
        };
        let [first, other, second, third, last] = apart([7, 8, 7, 7, 9]);
        assert_eq!((first, other, last), (7, 8, 9));
        assert!(second != third && ![first, other, last].contains(&second));
        assert_eq!(apart([7, 7, 7, 1, 2])[..3], [first, second, third]);
    }
}
