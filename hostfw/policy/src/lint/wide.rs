//! Warnings about rules that allow more than their author may think.

use super::{Findings, Scene};
use crate::{
    cidr::PrefixSource,
    entity::Entity,
    policy::{Action, Peers, PolicyRule},
    ports::Services,
    terms::leaves,
};

pub(super) const SPLIT_RULE: &str = "split-rule";
pub(super) const EVERY_ADDRESS: &str = "every-address";
pub(super) const ENTITY_ALL: &str = "entity-all";

pub(super) fn find(scene: &Scene<'_>, findings: &mut Findings) {
    for (number, policy) in scene.policies.iter().enumerate() {
        for spec in policy.specs.iter() {
            for (at, rule) in spec.rules.iter().enumerate() {
                if rule.action != Action::Allow {
                    continue;
                }
                let before = at.checked_sub(1).and_then(|at| spec.rules.get(at));
                split(number, rule, before, findings);
                for leaf in leaves(&rule.peers) {
                    wide(number, rule, leaf, findings);
                }
            }
        }
    }
}

/// `- fromCIDR: ...` and `- toPorts: ...` as two items are two rules: one for
/// every port, and one for everybody.
fn split(number: usize, rule: &PolicyRule, before: Option<&PolicyRule>, findings: &mut Findings) {
    let Some(before) = before else { return };
    let peers_alone = !matches!(before.peers, Peers::Every | Peers::Nobody)
        && before.services == Services::Every
        && before.action == Action::Allow
        && before.direction == rule.direction;
    let has_ports = match &rule.services {
        Services::Every => false,
        Services::Only(entries) => {
            entries.iter().any(|entry| !entry.services.is_empty() || !entry.named.is_empty())
        }
    };
    let ports_alone = rule.peers == Peers::Every && has_ports;
    if peers_alone && ports_alone {
        let what = "these ports are open to everybody, and the peers of the item before may use \
                    every port";
        let instead = "no dash before toPorts, if these peers on these ports are meant";
        findings.add(number, rule.at, SPLIT_RULE, what, instead);
    }
}

fn wide(number: usize, rule: &PolicyRule, leaf: &Peers, findings: &mut Findings) {
    match leaf {
        Peers::Prefixes(terms) => {
            for term in terms.iter().filter(|term| term.except.is_empty()) {
                if let PrefixSource::Cidr(cidr) = &term.from
                    && cidr.prefix_len() == 0
                {
                    let family = if cidr.addr().is_ipv4() { "IPv4" } else { "IPv6" };
                    let what = format!(
                        "{cidr} is every {family} address outside the cluster, and no other"
                    );
                    let instead = "the prefixes that are meant, or the entity world";
                    findings.add(number, term.at, EVERY_ADDRESS, what, instead);
                }
            }
        }
        Peers::Entities(entities) if entities.contains(&Entity::All) => {
            let what = "the entity all is everybody: this host, nodes, pods and the world";
            let instead = "cluster, world or the entities that are meant";
            findings.add(number, rule.at, ENTITY_ALL, what, instead);
        }
        Peers::Every
        | Peers::Nobody
        | Peers::Entities(_)
        | Peers::Endpoints(_)
        | Peers::Nodes(_)
        | Peers::Names(_)
        | Peers::Services(_)
        | Peers::AnyOf(_) => {}
    }
}
