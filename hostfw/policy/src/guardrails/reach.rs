//! What policies allow beyond what guardrails forbid or approve of: peer by
//! peer, in the cells that both together tell apart.

use hostfw_datapath::Direction;

use super::{
    Demand,
    cells::{Cells, Ports, prefix, widest},
    findings::{Findings, Owner, Statement, allowed, names_of, specs},
};
use crate::{
    cidr::PrefixSource,
    compile::CompileError,
    entity::Entity,
    fqdn::NamePattern,
    identity::Known,
    node::{Options, ThisNode},
    policy::{Peers, PolicyRule},
    terms::leaves,
    world::World,
};

/// Finds what is forbidden, and what is not approved of.
pub(super) fn find(
    findings: &mut Findings<'_>,
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> Result<(), CompileError> {
    let mut statements = Vec::new();
    for (number, guardrail) in findings.guardrails.iter().enumerate() {
        if let Demand::Forbid(rules) | Demand::AllowOnly(rules) = &guardrail.demand {
            let owner = Owner::Guardrail(number);
            statements.extend(rules.iter().map(|rule| Statement { rule, owner }));
        }
    }
    if statements.is_empty() {
        return Ok(());
    }
    for (policy, spec) in specs(findings.policies) {
        let owner = Owner::Policy(policy, spec);
        statements.extend(spec.rules.iter().map(|rule| Statement { rule, owner }));
    }
    let rules: Vec<&PolicyRule> = statements.iter().map(|one| one.rule).collect();
    let cells = Cells::of(&rules, world, &Known::of(world, node, options), options)?;
    let places = places(&cells, world);
    for (class, present) in cells.naming().enumerate() {
        let present: Vec<(usize, Statement<'_>)> =
            present.iter().filter_map(|at| Some((*at, *statements.get(*at)?))).collect();
        for one in &present {
            let place = || places.get(class).cloned().flatten().unwrap_or_default();
            hold(findings, &cells, *one, &present, place);
        }
    }
    // Names stand for addresses that nobody knows yet: each is a peer by itself.
    let numbered: Vec<(usize, Statement<'_>)> = statements.iter().copied().enumerate().collect();
    let is_guardrail = |one: &(usize, Statement<'_>)| matches!(one.1.owner, Owner::Guardrail(_));
    let (of_guardrails, of_policies) =
        numbered.split_at(numbered.partition_point(|one| is_guardrail(one)));
    for own in of_policies.chunk_by(|left, right| left.1.owner.is_same(&right.1.owner)) {
        for one in own {
            for name in names_of(one.1.rule) {
                let beside = of_guardrails.iter().chain(own);
                let present: Vec<(usize, Statement<'_>)> = beside
                    .filter(|beside| is_about(findings, one.0, beside, name))
                    .copied()
                    .collect();
                hold(findings, &cells, *one, &present, || format!("`{}`", name.as_written()));
            }
        }
    }
    Ok(())
}

/// Whether a statement counts where a rule names a pattern of names: what
/// forbids counts when it may be meant, all else when it is meant for sure.
fn is_about(
    findings: &Findings<'_>,
    rule: usize,
    (number, beside): &(usize, Statement<'_>),
    name: &NamePattern,
) -> bool {
    let touch = touches(&beside.rule.peers, name);
    let forbids = match beside.owner {
        Owner::Guardrail(number) => matches!(findings.demand(number), Some(Demand::Forbid(_))),
        Owner::Policy(..) => false,
    };
    *number == rule || touch == Touch::Everywhere || forbids && touch == Touch::Somewhere
}

/// Holds what one rule allows of one peer against all guardrails; `present` is
/// every rule that names this peer.
fn hold(
    findings: &mut Findings<'_>,
    cells: &Cells,
    (at, one): (usize, Statement<'_>),
    present: &[(usize, Statement<'_>)],
    place: impl Fn() -> String,
) {
    let Owner::Policy(policy, spec) = one.owner else { return };
    let direction = one.rule.direction;
    let allowed = allowed(cells, (at, one), present);
    if allowed.is_empty() {
        return;
    }
    for number in 0..findings.guardrails.len() {
        let Some(demand) = findings.demand(number) else { continue };
        let mut named = Ports::default();
        for (other, beside) in present {
            if matches!(beside.owner, Owner::Guardrail(own) if own == number)
                && beside.rule.direction == direction
                && let Some(ports) = cells.ports_of.get(*other)
            {
                named.add(ports);
            }
        }
        let (wrong, says) = match demand {
            Demand::Forbid(_) => (allowed.and(&named), "forbids"),
            Demand::AllowOnly(rules) if rules.iter().any(|rule| rule.direction == direction) => {
                let mut wrong = allowed.clone();
                wrong.remove(&named);
                (wrong, "does not approve of")
            }
            Demand::AllowOnly(_)
            | Demand::WidestPrefix { .. }
            | Demand::ExactNames
            | Demand::Require { .. } => continue,
        };
        if let Some(class) = wrong.sample()
            && findings.concerns(number, policy, spec)
        {
            let service = cells.service(class);
            let way = if direction == Direction::Ingress { "from" } else { "to" };
            findings.add(
                number,
                policy,
                one.rule.at,
                format!("{says} {service} {way} {}", place()),
            );
        }
    }
}

/// How much of what a name may stand for peers are about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Touch {
    Nowhere,
    Somewhere,
    Everywhere,
}

fn touches(peers: &Peers, name: &NamePattern) -> Touch {
    let one = |leaf: &Peers| match leaf {
        Peers::Every => Touch::Everywhere,
        Peers::Entities(entities) => entities
            .iter()
            .map(|entity| match entity {
                Entity::All | Entity::World => Touch::Everywhere,
                Entity::WorldIpv4 | Entity::WorldIpv6 => Touch::Somewhere,
                Entity::Host
                | Entity::RemoteNode
                | Entity::KubeApiserver
                | Entity::Cluster
                | Entity::ClusterMesh
                | Entity::Health
                | Entity::Ingress
                | Entity::Init
                | Entity::Unmanaged
                | Entity::None => Touch::Nowhere,
            })
            .max()
            .unwrap_or(Touch::Nowhere),
        // Any other prefix may be where the name is, and mostly is not.
        Peers::Prefixes(terms) => {
            let is_whole = |from: &PrefixSource| matches!(from, PrefixSource::Cidr(cidr) if cidr.prefix_len() == 0);
            let whole = terms.iter().any(|term| is_whole(&term.from));
            if whole { Touch::Somewhere } else { Touch::Nowhere }
        }
        Peers::Names(patterns) if patterns.iter().any(|one| one.contains(name)) => {
            Touch::Everywhere
        }
        Peers::Names(patterns) if patterns.iter().any(|one| one.overlaps(name)) => Touch::Somewhere,
        Peers::Names(_)
        | Peers::Nobody
        | Peers::Endpoints(_)
        | Peers::Nodes(_)
        | Peers::Services(_)
        | Peers::AnyOf(_) => Touch::Nowhere,
    };
    leaves(peers).into_iter().map(one).max().unwrap_or(Touch::Nowhere)
}

/// For every class of peers one of them, in words.
fn places(cells: &Cells, world: &World) -> Vec<Option<String>> {
    let mut places: Vec<Option<String>> = vec![None; cells.classes.len()];
    for is_v4 in [true, false] {
        for (first, last, class) in cells.ranges(is_v4) {
            if let Some(place @ None) = places.get_mut(class) {
                let (start, length) = widest(first, last, is_v4);
                *place =
                    Some(match (first == last).then(|| pod_at(world, start, is_v4)).flatten() {
                        Some(pod) => pod,
                        None => prefix(start, length, is_v4),
                    });
            }
        }
    }
    for (entity, class) in &cells.placeless {
        let class = usize::try_from(*class).ok();
        if let Some(place @ None) = class.and_then(|class| places.get_mut(class)) {
            *place = Some(entity.name().to_owned());
        }
    }
    places
}

fn pod_at(world: &World, address: u128, is_v4: bool) -> Option<String> {
    let written = prefix(address, if is_v4 { 32 } else { 128 }, is_v4);
    let address = written.split('/').next()?.parse().ok()?;
    let ((namespace, name), _) =
        world.pods.iter().find(|(_, pod)| pod.addresses.contains(&address))?;
    Some(format!("{address} ({namespace}/{name})"))
}
