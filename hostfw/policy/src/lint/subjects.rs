//! Warnings about whom a policy selects.

use hostfw_datapath::Direction;

use super::{Findings, Scene};
use crate::{
    fields,
    identity::{self, pod_labels},
    label,
    policy::{Action, Spec, Stance, Subjects},
    selector::{Operator, Selector},
};

pub(super) const SELECTS_NOTHING: &str = "selects-nothing";
pub(super) const PODS_ONLY: &str = "pods-only";
pub(super) const DENY_ONLY: &str = "deny-only";

pub(super) fn find(scene: &Scene<'_>, findings: &mut Findings) {
    let labels = Labels::of(scene);
    for (number, policy) in scene.policies.iter().enumerate() {
        for spec in policy.specs.iter() {
            match &spec.subjects {
                Subjects::Pods(_) if !scene.options.pods => {
                    let what = "this part is for pods; it does not concern this node's own traffic";
                    findings.add(
                        number,
                        spec.at,
                        PODS_ONLY,
                        what,
                        "nodeSelector, if nodes are meant",
                    );
                }
                Subjects::Pods(selector) => {
                    selects_nothing(number, spec, selector, "pod", &labels.pods, scene, findings);
                }
                Subjects::Nodes(selector) | Subjects::Forwarded(selector) => {
                    selects_nothing(number, spec, selector, "node", &labels.nodes, scene, findings);
                }
            }
            deny_only(number, spec, scene, findings);
        }
    }
}

/// The labels of everybody that a selector may select.
struct Labels {
    nodes: Vec<label::Labels>,
    pods: Vec<label::Labels>,
}

impl Labels {
    fn of(scene: &Scene<'_>) -> Self {
        let Scene { world, node, is_named, options, .. } = scene;
        let own = is_named.then(|| identity::own_labels(world, node, options));
        let mut nodes = Vec::from_iter(own);
        let others = world.nodes.keys().filter(|name| !is_named || **name != node.name);
        nodes.extend(others.map(|name| {
            let other = crate::node::ThisNode { name: name.clone(), ..Default::default() };
            identity::own_labels(world, &other, options)
        }));
        let mut pods: Vec<label::Labels> = Vec::new();
        if options.pods {
            pods.extend(
                world
                    .pods
                    .iter()
                    .map(|((namespace, _), pod)| pod_labels(namespace, pod, world, options)),
            );
            pods.sort_unstable();
            pods.dedup();
        }
        Self { nodes, pods }
    }
}

fn selects_nothing(
    number: usize,
    spec: &Spec,
    selector: &Selector,
    kind: &str,
    known: &[label::Labels],
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    // Of pods, or of nodes, nothing can be said where none is known.
    if known.is_empty() || known.iter().any(|labels| selector.selects(labels)) {
        return;
    }
    let what = match known.len() {
        1 if kind == "node" && scene.is_named => {
            "this selects nothing: not this node, the only one known".to_owned()
        }
        1 => format!("this selects nothing: not the only {kind} that is known"),
        n => format!("this selects nothing: none of the {n} {kind}s that are known"),
    };
    let instead = hint(selector, known, scene).unwrap_or_else(|| {
        format!(
            "the labels as they stand on the {kind}, or add the {kind} to the cluster directory"
        )
    });
    findings.add(number, spec.at, SELECTS_NOTHING, what, instead);
}

/// Which requirement nobody fulfils, and what it was probably meant to be.
fn hint(selector: &Selector, known: &[label::Labels], scene: &Scene<'_>) -> Option<String> {
    let failing = selector
        .requirements
        .iter()
        .find(|requirement| !known.iter().any(|labels| requirement.holds(labels)))?;
    if scene.options.cilium_labels && !label::compatible(&failing.key) {
        return Some(format!(
            "another label: `compatibility: cilium` hides `{}` from selectors",
            failing.key
        ));
    }
    let keys: Vec<&str> = known.iter().flat_map(label::Labels::keys).collect();
    if !keys.contains(&failing.key.as_str()) {
        return fields::nearest(&failing.key, &keys).map(|key| format!("{key}:"));
    }
    let mut values: Vec<&str> = known
        .iter()
        .flat_map(|labels| labels.values(failing.source.as_deref(), &failing.key))
        .collect();
    values.sort_unstable();
    values.dedup();
    let Operator::In(wanted) = &failing.operator else { return None };
    let nearest = wanted.iter().find_map(|wanted| fields::nearest(wanted, &values));
    let shown = nearest.map_or_else(|| values.iter().take(3).copied().collect(), |one| vec![one]);
    Some(format!("{}: {}", failing.key, shown.join(" or ")))
}

/// A list of denials puts its direction in force, and so denies all the rest
/// (rule 22).
fn deny_only(number: usize, spec: &Spec, scene: &Scene<'_>, findings: &mut Findings) {
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut rules = spec.rules.iter().filter(|rule| rule.direction == direction);
        let Some(first) = rules.next() else { continue };
        let denies = first.action == Action::Deny && rules.all(|rule| rule.action == Action::Deny);
        if !denies || spec.stance(direction) != Stance::DefaultDeny {
            continue;
        }
        let kind = std::mem::discriminant(&spec.subjects);
        let allows = |other: &Spec| {
            std::mem::discriminant(&other.subjects) == kind
                && other
                    .rules
                    .iter()
                    .any(|rule| rule.direction == direction && rule.action == Action::Allow)
        };
        if scene.policies.iter().flat_map(|policy| policy.specs.iter()).any(allows) {
            continue;
        }
        let way = if direction == Direction::Ingress { "ingress" } else { "egress" };
        let what = format!("deny rules alone deny everything else too: nothing allows any {way}");
        let instead =
            format!("enableDefaultDeny: {{{way}: false}} to deny only these, or rules that allow");
        findings.add(number, first.at, DENY_ONLY, what, instead);
    }
}
