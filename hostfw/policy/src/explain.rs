//! A policy in plain sentences: whom it concerns, what it puts in force, what
//! each rule says. The words are those of listings; nothing decides by them.

use hostfw_datapath::Direction;

use crate::{
    identity::{own_labels, pod_labels},
    node::{Options, ThisNode},
    policy::{Action, Authentication, Peers, Policy, PolicyRule, Spec, Stance, Subjects, Tier},
    ports::Services,
    selector::Selector,
    summary,
    world::World,
};

/// Names that a sentence lists before it only counts.
const NAMED: usize = 4;

/// One part of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPart {
    /// Whom it concerns, and what becomes of each direction.
    pub sentences: Vec<String>,
    /// Every rule: its line, and what it says.
    pub rules: Vec<(u32, String)>,
}

/// Explains a policy part by part; the world says whom it selects.
pub fn explain(policy: &Policy, world: &World, options: &Options) -> Vec<ExplainedPart> {
    policy.specs.iter().map(|spec| part(spec, world, options)).collect()
}

fn part(spec: &Spec, world: &World, options: &Options) -> ExplainedPart {
    let mut sentences = vec![subjects(&spec.subjects, world, options)];
    match spec.tier {
        Tier::Admin => sentences.push(
            "Its rules are asked before all others; what one of them allows or denies is final."
                .to_owned(),
        ),
        Tier::Baseline => sentences
            .push("Its rules are asked last, where no other policy has decided.".to_owned()),
        Tier::Normal => {}
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        sentences.push(stance(spec, direction));
    }
    if spec.tier == Tier::Normal && spec.rules.iter().any(|rule| rule.action == Action::Deny) {
        sentences.push("What a rule denies stays denied, whatever allows it.".to_owned());
    }
    let rules = spec.rules.iter().map(|rule| (rule.at.line, sentence(rule))).collect();
    ExplainedPart { sentences, rules }
}

fn subjects(subjects: &Subjects, world: &World, options: &Options) -> String {
    let (kind, selector, known): (_, _, Vec<(String, bool)>) = match subjects {
        Subjects::Nodes(selector) | Subjects::Forwarded(selector) => {
            let selects = |name: &String| {
                let node = ThisNode { name: name.clone(), ..ThisNode::default() };
                selector.selects(&own_labels(world, &node, options))
            };
            let known = world.nodes.keys().map(|name| (name.clone(), selects(name)));
            ("node", selector, known.collect())
        }
        Subjects::Pods(selector) => {
            let known = world.pods.iter().map(|((namespace, name), pod)| {
                let labels = pod_labels(namespace, pod, world, options);
                (format!("{namespace}/{name}"), selector.selects(&labels))
            });
            ("pod", selector, known.collect())
        }
    };
    let what = match subjects {
        Subjects::Forwarded(_) => "It concerns what is forwarded by",
        Subjects::Nodes(_) | Subjects::Pods(_) => "It concerns",
    };
    let whom = if *selector == Selector::default() {
        format!("{what} every {kind}")
    } else {
        format!("{what} {kind}s with {}", summary::selector_in_words(selector))
    };
    if known.is_empty() {
        return format!("{whom}.");
    }
    let names: Vec<&str> =
        known.iter().filter(|(_, selected)| *selected).map(|(name, _)| name.as_str()).collect();
    let n_known = known.len();
    match names.len() {
        0 => format!("{whom}; of the {n_known} known it selects none."),
        n if n <= NAMED => format!("{whom}; of the {n_known} known: {}.", names.join(", ")),
        n => format!("{whom}; that is {n} of the {n_known} known."),
    }
}

fn stance(spec: &Spec, direction: Direction) -> String {
    let (way, noun) = match direction {
        Direction::Ingress => ("Ingress", "comes in"),
        Direction::Egress => ("Egress", "goes out"),
    };
    match (spec.stance(direction), spec.tier) {
        (Stance::Untouched, _) => format!("{way} is left as it is."),
        (Stance::InForce, Tier::Normal) => {
            format!("{way}: the rules below count; what none of them matches is not denied for it.")
        }
        (Stance::InForce, Tier::Admin | Tier::Baseline) => {
            format!("{way}: the rules below count; what none of them matches is left to others.")
        }
        (Stance::DefaultDeny, _) => {
            let any = spec
                .rules
                .iter()
                .any(|rule| rule.direction == direction && rule.action == Action::Allow);
            if any {
                format!("{way} is in force: what {noun} is denied unless a rule allows it.")
            } else {
                format!(
                    "{way} is in force and no rule here allows anything: all that {noun} is denied unless another policy allows it."
                )
            }
        }
    }
}

fn sentence(rule: &PolicyRule) -> String {
    let verb = match rule.action {
        Action::Allow => "allows",
        Action::Deny => "denies",
        Action::Pass => "leaves to the next tier",
    };
    let services = summary::services_in_words(&rule.services);
    let nothing = rule.peers == Peers::Nobody || services == "no service";
    if nothing {
        return "matches nothing; it only puts its direction in force".to_owned();
    }
    let side = match rule.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let mut text = format!("{verb} {services} {side} {}", summary::peers_in_words(&rule.peers));
    if let Services::Only(entries) = &rule.services
        && entries.iter().any(|entry| entry.l7.is_some())
    {
        text.push_str("; what stands in brackets is looked at by a proxy");
    }
    match rule.authentication {
        Some(Authentication::Required) => text.push_str("; the peer has to prove who it is"),
        Some(Authentication::AlwaysFail) => text.push_str("; authentication always fails"),
        Some(Authentication::Disabled) | None => {}
    }
    text
}
