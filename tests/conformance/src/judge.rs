//! Judges a flow by the compiled image and says it in the words of the vectors.

use std::net::IpAddr;

use anyhow::{Context, bail};
use hostfw_datapath::{
    Address, Direction, Image as _,
    image::{self, CLASS, Question},
    verdict::Answer,
};
use hostfw_policy::{RuleKind, entity::Entity, ports};

use crate::{
    scene::Scene,
    vectors::{Expect, Flow, Peer},
};

/// What we make of a flow: `policies` has the deciding one first, and behind it
/// those of all other rules that match.
pub(crate) fn judge(scene: &Scene<'_>, flow: &Flow) -> anyhow::Result<Expect> {
    let (compiled, subject) = scene.image_of(&flow.subject)?;
    let direction = match flow.direction.as_str() {
        "ingress" => Direction::Ingress,
        "egress" => Direction::Egress,
        other => bail!("there is no direction `{other}`"),
    };
    let image = &compiled.words.as_slice();
    if !image::in_force(image, image::subject(image, subject, direction)) {
        return Ok(said("allow", "not-enforced"));
    }
    let peer_class = match &flow.peer {
        Peer::Ip(address) => class_at(image, *address),
        Peer::Pod(name) => {
            let pod = scene.pod(name).with_context(|| format!("there is no pod {name}"))?;
            class_at(image, *pod.ips.first().context("the pod has no address")?)
        }
        Peer::Node(name) => {
            let node = scene.written.nodes.iter().find(|node| node.name == *name);
            let node = node.with_context(|| format!("there is no node {name}"))?;
            class_at(image, *node.ips.first().context("the node has no address")?)
        }
        Peer::ApiServer(_) => {
            let on_node = || scene.written.nodes.iter().find(|node| node.apiserver)?.ips.first();
            let address = scene.written.apiserver_ips.first().or_else(on_node);
            class_at(image, *address.context("there is no API server")?)
        }
        Peer::Entity(name) => {
            let entity = Entity::ALL.iter().find(|entity| entity.name() == name);
            let class = entity.and_then(|entity| compiled.class_of(*entity));
            class.with_context(|| format!("nobody plays {name} without an address"))?
        }
    };
    let protocol = protocol(&flow.protocol)?;
    let port = flow.icmp_type.unwrap_or(flow.port);
    let index = image.find(Question { subject, direction, peer_class, protocol, port });
    let (answer, rule) = image::verdict(image, index);
    let rule = compiled.rule(rule);
    let mut outcome = match answer {
        Answer::Allow if rule.is_some_and(|rule| rule.kind == RuleKind::LocalHost) => {
            said("allow", "local-host")
        }
        Answer::Allow | Answer::Redirect => said("allow", "rule"),
        Answer::Deny => said("deny", "explicit-deny"),
        Answer::DefaultDeny => said("deny", "default-deny"),
        Answer::DefaultAllow => said("allow", "default-allow"),
        Answer::Broken => bail!("the image gives no answer"),
    };
    if answer == Answer::Redirect {
        outcome.redirect = Some(
            match image::proxy(image, index) {
                1 => "http",
                2 => "tls",
                3 => "dns",
                4 => "generic",
                5 => "crd",
                other => bail!("there is no proxy {other}"),
            }
            .to_owned(),
        );
    }
    let matching = compiled.matching_rules(index);
    let all = rule.into_iter().chain(matching).map(|rule| rule.policy.to_string());
    outcome.policies = all.collect();
    Ok(outcome)
}

/// Where two outcomes differ in what the vectors call normative, or in that none
/// of our matching rules is of a policy that the reference names. Which of
/// several it names follows from its tables: it names now the wider and now the
/// closer one; ours is the first of the document.
pub(crate) fn difference(expected: &Expect, got: &Expect) -> Option<&'static str> {
    let redirect_differs = match expected.redirect.as_deref() {
        Some("proxy") => got.redirect.is_none(),
        other => other != got.redirect.as_deref(),
    };
    if expected.verdict != got.verdict {
        Some("verdict")
    } else if expected.reason.is_some() && expected.reason != got.reason {
        Some("reason")
    } else if redirect_differs {
        Some("redirect")
    } else if !expected.policies.is_empty()
        && !got.policies.iter().any(|name| expected.policies.contains(name))
    {
        Some("policies")
    } else {
        None
    }
}

fn said(verdict: &str, reason: &str) -> Expect {
    Expect {
        verdict: Some(verdict.to_owned()),
        reason: Some(reason.to_owned()),
        ..Expect::default()
    }
}

fn class_at(image: &&[u32], address: IpAddr) -> u32 {
    image::peer(image, &Address::from(address)) & CLASS
}

/// The number of a protocol.
pub(crate) fn protocol(name: &str) -> anyhow::Result<u8> {
    Ok(match name {
        "TCP" => ports::TCP,
        "UDP" => ports::UDP,
        "SCTP" => ports::SCTP,
        "ICMP" => ports::ICMP,
        "ICMPv6" => ports::ICMPV6,
        other => {
            let wanted = other.to_ascii_uppercase();
            let known = ports::WITHOUT_PORTS.iter().find(|(name, _)| *name == wanted);
            known.with_context(|| format!("there is no protocol {other}"))?.1
        }
    })
}
