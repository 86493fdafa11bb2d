//! `hostfw policy diff`: two directories compiled for the same nodes, and what
//! their images do not agree on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Context;
use hostfw_api::{DiffAnswer, DiffChange, DiffEnforcement, DiffKind, DiffReport, Direction};
use hostfw_policy::{
    Compiled, SubjectName, ThisNode, World,
    diff::{Change, Fate, Outcome as End, Peers, diff as compare},
    ports::Service,
    service_in_words,
};

use crate::{
    Outcome,
    arguments::{Circumstances, DiffWanted, Output},
    failure::Failure,
    offline::Files,
    online::json,
    render::{self, Page},
    services::{in_order, left_out},
    trace::listed,
};

/// Yes when nothing changes.
pub(crate) fn diff(wanted: &DiffWanted, output: Output, page: &Page) -> anyhow::Result<Outcome> {
    let report = report(wanted)?;
    let text = match output {
        Output::Text => render::diff::render(&report, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: report.is_empty() })
}

fn report(wanted: &DiffWanted) -> anyhow::Result<DiffReport> {
    let new = Files::accepted(&wanted.new).context("the new policies")?;
    let circumstances = Circumstances { policies: wanted.old.clone(), ..wanted.new.clone() };
    let old = Files::accepted(&circumstances).context("the old policies")?;
    let nodes: Vec<ThisNode> = match &wanted.node {
        Some(name) => vec![new.node(name, &wanted.new)?],
        None if new.world.nodes.is_empty() => {
            let unnamed = new.this(None, &wanted.new)?;
            vec![ThisNode { name: "this node".to_owned(), ..unnamed }]
        }
        None => {
            let names = new.world.nodes.keys();
            names.map(|name| new.node(name, &wanted.new)).collect::<Result<_, Failure>>()?
        }
    };
    let mut report = DiffReport { enforcement: Vec::new(), changes: Vec::new() };
    for node in nodes {
        let image = |files: &Files| -> anyhow::Result<Compiled> {
            let mut atlas = files.atlas(&node, &wanted.new);
            Ok(atlas.image(&node.name)?.clone())
        };
        let (before, after) = (image(&old)?, image(&new)?);
        let known = names_of(&new.world, &node.name, &node.addresses);
        report.enforcement.extend(enforcement([&before, &after], &node.name));
        for change in compare(&before, &after) {
            report.changes.push(shown(&change, &node.name, [&before, &after], &known));
        }
    }
    Ok(report)
}

/// Every direction of a subject that one image has in force and the other has
/// not.
fn enforcement(images: [&Compiled; 2], node: &str) -> Vec<DiffEnforcement> {
    let subjects = images.iter().flat_map(|image| &image.subjects).map(|subject| &subject.name);
    let subjects: BTreeSet<&SubjectName> = subjects.collect();
    let mut differing = Vec::new();
    for subject in subjects {
        for direction in [hostfw_policy::Direction::Ingress, hostfw_policy::Direction::Egress] {
            let [before, after] = images.map(|image| in_force(image, subject, direction));
            if before != after {
                differing.push(DiffEnforcement {
                    node: node.to_owned(),
                    subject: named(subject, node),
                    direction: said(direction),
                    in_force: after,
                });
            }
        }
    }
    differing
}

fn in_force(image: &Compiled, name: &SubjectName, way: hostfw_policy::Direction) -> bool {
    image.subjects.iter().any(|subject| subject.name == *name && subject.in_force(way))
}

fn named(subject: &SubjectName, node: &str) -> String {
    match subject {
        SubjectName::Host => node.to_owned(),
        SubjectName::Forward => format!("{node} forwarding"),
        SubjectName::Pod { namespace, name } => format!("{namespace}/{name}"),
    }
}

fn said(direction: hostfw_policy::Direction) -> Direction {
    match direction {
        hostfw_policy::Direction::Ingress => Direction::Ingress,
        hostfw_policy::Direction::Egress => Direction::Egress,
    }
}

/// Who has which address.
fn names_of(world: &World, own: &str, addresses: &[IpAddr]) -> BTreeMap<IpAddr, String> {
    let mut names = BTreeMap::new();
    for ((namespace, name), pod) in &world.pods {
        names.extend(pod.addresses.iter().map(|one| (*one, format!("{namespace}/{name}"))));
    }
    for (name, node) in &world.nodes {
        names.extend(node.addresses.iter().map(|one| (*one, name.clone())));
    }
    names.extend(addresses.iter().map(|one| (*one, own.to_owned())));
    names
}

fn shown(
    change: &Change,
    node: &str,
    [old, new]: [&Compiled; 2],
    known: &BTreeMap<IpAddr, String>,
) -> DiffChange {
    let rule = |compiled: &Compiled, id: Option<u32>| compiled.rule(id?).map(listed);
    let answer = |image: &Compiled, fate: Fate| match (fate.outcome, fate.rule) {
        (End::Pass, Some(_)) => DiffAnswer::Allow,
        (End::Redirect, _) => DiffAnswer::Proxy,
        (End::Deny, Some(_)) => DiffAnswer::Deny,
        (End::Deny, None) => DiffAnswer::DefaultDeny,
        (End::Pass, None) if in_force(image, &change.subject, change.direction) => {
            DiffAnswer::DefaultAllow
        }
        (End::Pass, None) => DiffAnswer::NotInForce,
    };
    let in_words = |services: &[Service]| services.iter().map(service_in_words).collect();
    let but = left_out(&change.services);
    DiffChange {
        node: node.to_owned(),
        subject: named(&change.subject, node),
        direction: said(change.direction),
        change: match (change.before.outcome, change.after.outcome) {
            (_, End::Deny) => DiffKind::Closed,
            (End::Deny, _) => DiffKind::Opened,
            (End::Pass | End::Redirect, End::Pass | End::Redirect) => DiffKind::Proxied,
        },
        peers: peers(&change.peers, known),
        services: in_words(&in_order(&change.services)),
        services_but: (but.len() < change.services.len()).then(|| in_words(&but)),
        before: rule(old, change.before.rule),
        before_answer: answer(old, change.before),
        after: rule(new, change.after.rule),
        after_answer: answer(new, change.after),
    }
}

/// Known addresses by their names, the rest as ranges and prefixes.
fn peers(peers: &Peers, known: &BTreeMap<IpAddr, String>) -> Vec<String> {
    let mut shown: Vec<String> =
        peers.entities.iter().map(|entity| entity.name().to_owned()).collect();
    let ranges = peers
        .v4
        .iter()
        .map(|(first, last)| {
            (IpAddr::V4(Ipv4Addr::from(*first)), IpAddr::V4(Ipv4Addr::from(*last)))
        })
        .chain(peers.v6.iter().map(|(first, last)| {
            (IpAddr::V6(Ipv6Addr::from(*first)), IpAddr::V6(Ipv6Addr::from(*last)))
        }));
    for (first, last) in ranges {
        shown.push(match (first == last, known.get(&first)) {
            (true, Some(name)) => format!("{name} ({first})"),
            (true, None) => first.to_string(),
            (false, _) => prefix(first, last).unwrap_or_else(|| format!("{first}-{last}")),
        });
    }
    shown
}

/// A range that is one prefix.
fn prefix(first: IpAddr, last: IpAddr) -> Option<String> {
    let (first_bits, last_bits, width) = match (first, last) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(u32::from(one)), u128::from(u32::from(other)), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (u128::from(one), u128::from(other), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let inner = (first_bits ^ last_bits).checked_add(1).map_or(128, u128::trailing_zeros);
    let mask = 1u128.checked_shl(inner).map_or(u128::MAX, |size| size - 1);
    let is_prefix = first_bits & mask == 0 && first_bits | mask == last_bits;
    is_prefix.then(|| format!("{first}/{}", width - inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_a_prefix_is_shown_as_one() {
        let shown = |first: &str, last: &str| {
            prefix(first.parse().expect("an address"), last.parse().expect("an address"))
        };
        assert_eq!(shown("10.0.0.0", "10.255.255.255").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(shown("0.0.0.0", "255.255.255.255").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(shown("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").as_deref(), Some("::/0"));
        assert_eq!(shown("10.0.0.1", "10.0.0.2"), None);
        assert_eq!(shown("10.0.0.0", "10.0.2.255"), None);
    }
}
