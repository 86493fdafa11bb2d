//! `hostfw policy schema`: JSON Schemas (draft 2020-12) of the kinds of policies,
//! for editors. They say which fields there are and of which type; whether a
//! policy is accepted is said by `policy check` alone.

use serde_json::{Map, Value, json};

use crate::{Outcome, failure::Failure, online::json as text_of};

/// The dialect of the schemas.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Every kind with the version that is read.
pub(crate) const KINDS: [(&str, &str); 4] = [
    ("CiliumClusterwideNetworkPolicy", "cilium.io/v2"),
    ("CiliumNetworkPolicy", "cilium.io/v2"),
    ("NetworkPolicy", "networking.k8s.io/v1"),
    ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
];

/// One schema, or that of every kind.
pub(crate) fn schema(kind: Option<&str>) -> anyhow::Result<Outcome> {
    let schema = match kind {
        None => every_kind(),
        Some(kind) => match KINDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(kind)) {
            Some((kind, _)) => of_kind(kind),
            None => {
                let known: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
                let what = format!("there is no schema of `{kind}`: {}", known.join(", "));
                return Err(Failure::Usage(what).into());
            }
        },
    };
    Ok(Outcome { text: text_of(serde_json::to_string_pretty(&schema))?, yes: true })
}

/// A document of any kind, told apart by its `kind`.
pub(crate) fn every_kind() -> Value {
    let any: Vec<Value> = KINDS.iter().map(|(kind, _)| document(kind)).collect();
    json!({
        "$schema": DRAFT,
        "title": "A policy that hostfw reads",
        "anyOf": any,
        "$defs": definitions(),
    })
}

/// The schema of one kind.
pub(crate) fn of_kind(kind: &str) -> Value {
    let mut schema = document(kind);
    schema["$schema"] = json!(DRAFT);
    schema["$defs"] = definitions();
    schema
}

fn document(kind: &str) -> Value {
    let version = KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, version)| version);
    let frame = |spec: Value, required: &[&str]| {
        let mut properties = json!({
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": reference("metadata"),
            "status": {"description": "What a cluster added; it is passed over."},
        });
        for (name, value) in spec.as_object().into_iter().flatten() {
            properties[name.as_str()] = value.clone();
        }
        let mut all = vec!["apiVersion", "kind", "metadata"];
        all.extend(required);
        json!({
            "title": kind,
            "type": "object",
            "properties": properties,
            "required": all,
            "additionalProperties": false,
        })
    };
    let specs = |name| json!({"spec": reference(name), "specs": list(reference(name))});
    match kind {
        "CiliumClusterwideNetworkPolicy" => frame(specs("clusterwideSpec"), &[]),
        "CiliumNetworkPolicy" => frame(specs("namespacedSpec"), &[]),
        "NetworkPolicy" => frame(json!({"spec": reference("networkPolicySpec")}), &["spec"]),
        _ => frame(json!({"spec": reference("clusterNetworkPolicySpec")}), &["spec"]),
    }
}

fn definitions() -> Value {
    let mut all = Map::new();
    for (name, value) in basics().into_iter().chain(cilium()).chain(kubernetes()) {
        all.insert(name.to_owned(), value);
    }
    Value::Object(all)
}

fn basics() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string"});
    vec![
        (
            "metadata",
            json!({
                "type": "object",
                "properties": {
                    "name": text(),
                    "namespace": text(),
                    "labels": reference("labels"),
                    "annotations": reference("labels"),
                },
                "required": ["name"],
            }),
        ),
        ("labels", json!({"type": "object", "additionalProperties": text()})),
        (
            "selector",
            fields(
                "Labels that are asked for; an empty one selects everything.",
                json!({
                    "matchLabels": reference("labels"),
                    "matchExpressions": list(fields(
                        "A requirement on one key.",
                        json!({
                            "key": text(),
                            "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                            "values": list(text()),
                        }),
                    )),
                }),
            ),
        ),
        (
            "cidr",
            json!({"type": "string", "description": "A prefix with its mask.", "pattern": "/"}),
        ),
        (
            "name",
            fields(
                "A DNS name, or a pattern of names.",
                json!({"matchName": text(), "matchPattern": text()}),
            ),
        ),
    ]
}

fn cilium() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string"});
    let lists = |allow_in: &str, allow_out: &str| {
        json!({
            "endpointSelector": reference("selector"),
            "ingress": list(reference(allow_in)),
            "ingressDeny": list(reference("ingressDeny")),
            "egress": list(reference(allow_out)),
            "egressDeny": list(reference("egressDeny")),
            "enableDefaultDeny": fields(
                "Whether what no rule matches is denied.",
                json!({"ingress": {"type": "boolean"}, "egress": {"type": "boolean"}}),
            ),
            "description": text(),
            "labels": {"description": "Labels of the policy in listings."},
            "log": fields("Marks events.", json!({"value": text()})),
        })
    };
    let mut clusterwide = lists("ingress", "egress");
    clusterwide["nodeSelector"] = reference("selector");
    let services = fields(
        "Services by name or by labels.",
        json!({
            "k8sService": fields(
                "One Service.",
                json!({"serviceName": text(), "namespace": text()}),
            ),
            "k8sServiceSelector": fields(
                "Services by their labels.",
                json!({"selector": reference("selector"), "namespace": text()}),
            ),
        }),
    );
    let peers = |side: &str| {
        json!({
            format!("{side}Endpoints"): list(reference("selector")),
            format!("{side}CIDR"): list(reference("cidr")),
            format!("{side}CIDRSet"): list(reference("cidrSet")),
            format!("{side}Entities"): list(reference("entity")),
            format!("{side}Nodes"): list(reference("selector")),
            "icmps": list(reference("icmp")),
        })
    };
    let with = |mut base: Value, more: Value| {
        for (name, value) in more.as_object().into_iter().flatten() {
            base[name.as_str()] = value.clone();
        }
        fields("Who may, or may not, reach what.", base)
    };
    let authentication = fields(
        "Who has to prove what they are.",
        json!({"mode": {"enum": ["disabled", "required", "test-always-fail"]}}),
    );
    let entities: Vec<&str> =
        hostfw_policy::entity::Entity::ALL.iter().map(|entity| entity.name()).collect();
    vec![
        ("clusterwideSpec", fields("Whom the policy selects, and its rules.", clusterwide)),
        (
            "namespacedSpec",
            fields("Whom the policy selects, and its rules.", lists("ingress", "egress")),
        ),
        (
            "ingress",
            with(
                peers("from"),
                json!({"toPorts": list(reference("ports")), "authentication": authentication}),
            ),
        ),
        ("ingressDeny", with(peers("from"), json!({"toPorts": list(reference("plainPorts"))}))),
        (
            "egress",
            with(
                peers("to"),
                json!({
                    "toPorts": list(reference("ports")),
                    "toFQDNs": list(reference("name")),
                    "toServices": list(services.clone()),
                    "authentication": authentication,
                }),
            ),
        ),
        (
            "egressDeny",
            with(
                peers("to"),
                json!({"toPorts": list(reference("plainPorts")), "toServices": list(services)}),
            ),
        ),
        ("entity", json!({"enum": entities})),
        (
            "cidrSet",
            fields(
                "A prefix or groups of prefixes, with exceptions.",
                json!({
                    "cidr": reference("cidr"),
                    "cidrGroupRef": text(),
                    "cidrGroupSelector": reference("selector"),
                    "except": list(reference("cidr")),
                }),
            ),
        ),
        (
            "port",
            fields(
                "A protocol and a port, a range of ports or the name of one.",
                json!({
                    "port": {"type": "string", "description": "In quotes; \"0\" is every port."},
                    "endPort": {"type": "integer", "minimum": 0, "maximum": 65535},
                    "protocol": text(),
                }),
            ),
        ),
        ("plainPorts", fields("Ports that are denied.", json!({"ports": list(reference("port"))}))),
        (
            "ports",
            fields(
                "Ports, and what a proxy is to look at there.",
                json!({
                    "ports": list(reference("port")),
                    "rules": reference("rules"),
                    "serverNames": list(text()),
                    "listener": {"type": "object"},
                    "terminatingTLS": {"type": "object"},
                    "originatingTLS": {"type": "object"},
                }),
            ),
        ),
        (
            "rules",
            fields(
                "Rules of one protocol.",
                json!({
                    "http": list(fields(
                        "A request; texts are regular expressions.",
                        json!({
                            "path": text(),
                            "method": text(),
                            "host": text(),
                            "headers": list(text()),
                            "headerMatches": list(json!({"type": "object"})),
                        }),
                    )),
                    "dns": list(reference("name")),
                    "kafka": list(fields(
                        "A Kafka request.",
                        json!({
                            "role": {"enum": ["produce", "consume"]},
                            "apiKey": text(),
                            "apiVersion": text(),
                            "clientID": text(),
                            "topic": text(),
                        }),
                    )),
                    "l7proto": text(),
                    "l7": list(reference("labels")),
                }),
            ),
        ),
        (
            "icmp",
            fields(
                "ICMP messages.",
                json!({"fields": list(fields(
                    "A type by number or name.",
                    json!({"type": {"type": ["integer", "string"]}, "family": {"enum": ["IPv4", "IPv6"]}}),
                ))}),
            ),
        ),
    ]
}

fn kubernetes() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer", "minimum": 0, "maximum": 65535});
    let rule = |side: &str| {
        fields(
            "Who may reach which ports.",
            json!({side: list(reference("networkPolicyPeer")), "ports": list(reference("networkPolicyPort"))}),
        )
    };
    let pods = fields(
        "Pods by their own labels and those of their namespaces.",
        json!({"namespaceSelector": reference("selector"), "podSelector": reference("selector")}),
    );
    let ports = fields(
        "A port or a range; without it every port.",
        json!({"destinationPort": fields(
            "A number or a range.",
            json!({"number": number(), "range": fields("Both ends included.", json!({"start": number(), "end": number()}))}),
        )}),
    );
    let cluster_rule = |side: &str, more: Value| {
        let mut peer = json!({"namespaces": reference("selector"), "pods": pods.clone()});
        for (name, value) in more.as_object().into_iter().flatten() {
            peer[name.as_str()] = value.clone();
        }
        fields(
            "A rule of a tier; the first that matches decides.",
            json!({
                "name": text(),
                "action": {"enum": ["Accept", "Deny", "Pass"]},
                side: list(fields("One kind of peers.", peer)),
                "protocols": list(fields(
                    "One protocol.",
                    json!({
                        "tcp": ports.clone(),
                        "udp": ports.clone(),
                        "sctp": ports.clone(),
                        "destinationNamedPort": text(),
                    }),
                )),
            }),
        )
    };
    vec![
        (
            "networkPolicySpec",
            fields(
                "Whom the policy selects, and its rules.",
                json!({
                    "podSelector": reference("selector"),
                    "policyTypes": list(json!({"enum": ["Ingress", "Egress"]})),
                    "ingress": list(rule("from")),
                    "egress": list(rule("to")),
                }),
            ),
        ),
        (
            "networkPolicyPeer",
            fields(
                "Pods or a prefix.",
                json!({
                    "podSelector": reference("selector"),
                    "namespaceSelector": reference("selector"),
                    "ipBlock": fields(
                        "A prefix with exceptions.",
                        json!({"cidr": text(), "except": list(text())}),
                    ),
                }),
            ),
        ),
        (
            "networkPolicyPort",
            fields(
                "A port, a range or a name.",
                json!({
                    "port": {"type": ["integer", "string"]},
                    "endPort": number(),
                    "protocol": {"enum": ["TCP", "UDP", "SCTP"]},
                }),
            ),
        ),
        (
            "clusterNetworkPolicySpec",
            fields(
                "When the rules are asked, whom they concern, and the rules.",
                json!({
                    "tier": {"enum": ["Admin", "Baseline"]},
                    "priority": {"type": "integer", "minimum": 0, "maximum": 1000},
                    "subject": fields(
                        "Pods, or all pods of namespaces.",
                        json!({"namespaces": reference("selector"), "pods": pods}),
                    ),
                    "ingress": list(cluster_rule("from", json!({}))),
                    "egress": list(cluster_rule("to", json!({"networks": list(reference("cidr"))}))),
                }),
            ),
        ),
    ]
}

/// A mapping with these fields and no others.
fn fields(description: &str, properties: Value) -> Value {
    json!({
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// A list; a missing one may also be written as `null`.
fn list(items: Value) -> Value {
    json!({"type": ["array", "null"], "items": items})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

#[cfg(test)]
mod tests;
