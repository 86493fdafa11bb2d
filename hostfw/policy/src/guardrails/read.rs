//! Reads files of guardrails. Their rules are read by the reader of policies.

use hostfw_datapath::Direction;

use super::{Demand, Guardrail, Subject};
use crate::{
    complaint::{Complaint, Report, Source},
    fields::{self, Fields},
    file_name::FileName,
    node::Dialect,
    policy::{Action, PolicyRule},
    ports::Services,
    rule::{self, Context},
    text::{self, Node, Value},
};

/// The files of guardrails among those of a directory.
pub fn among(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| FileName::is_guardrails(&source.path))
}

/// Reads files of guardrails, whatever their names. Nothing may be put in force
/// when a complaint is an [`crate::Severity::Error`].
pub fn read_guardrails<'s>(
    sources: impl IntoIterator<Item = &'s Source>,
) -> (Vec<Guardrail>, Vec<Complaint>) {
    let mut guardrails = Vec::new();
    let mut complaints = Vec::new();
    for source in sources {
        let mut report = Report::new(source);
        for document in text::documents(&mut report) {
            let Some(mut fields) = Fields::new(&document, "a file of guardrails", &mut report)
            else {
                continue;
            };
            let list = fields.need("guardrails", &mut report);
            fields.finish(&mut report, |_| None);
            let items = list.and_then(|list| fields::list(list, "guardrails", &mut report));
            guardrails
                .extend(items.unwrap_or_default().iter().filter_map(|one| read(one, &mut report)));
        }
        complaints.extend(report.finish());
    }
    (guardrails, complaints)
}

const DEMANDS: [&str; 5] = ["forbid", "allowOnly", "widestPrefix", "exactNames", "require"];

fn read(node: &Node, report: &mut Report<'_>) -> Option<Guardrail> {
    let mut fields = Fields::new(node, "a guardrail", report)?;
    let name = fields.need("name", report);
    let why = fields.take("why");
    let only_for = fields.take("for");
    let exempt = fields.take("exempt");
    let demands: Vec<_> = DEMANDS.iter().filter_map(|name| fields.take_entry(name)).collect();
    fields.finish(report, |unknown| match unknown {
        "ingress" | "egress" => Some(format!("forbid: {{{unknown}: [...]}}")),
        "deny" => Some("forbid:".to_owned()),
        "allow" => Some("allowOnly:".to_owned()),
        "subject" | "subjects" | "kind" => Some("for: nodes, or for: pods".to_owned()),
        "nodeSelector" => Some("for: nodes".to_owned()),
        "endpointSelector" | "podSelector" => Some("for: pods".to_owned()),
        _ => None,
    });
    let [demand] = demands.as_slice() else {
        let n_demands = match demands.len() {
            0 => "nothing".to_owned(),
            several => several.to_string(),
        };
        let what = format!("a guardrail demands one thing, and this one {n_demands}");
        report.error(node.at, "bad-guardrail", what, format!("one of {}", DEMANDS.join(", ")));
        return None;
    };
    let value = &demand.value;
    let demand = match demand.key.as_str() {
        "forbid" => Demand::Forbid(read_rules(value, "forbid", report)?),
        "allowOnly" => Demand::AllowOnly(read_rules(value, "allowOnly", report)?),
        "widestPrefix" if matches!(value.value, Value::Number(_) | Value::Text(_)) => {
            let what = "`widestPrefix` is said for each family";
            report.error(value.at, "wrong-type", what, "widestPrefix: {ipv4: 16, ipv6: 32}");
            return None;
        }
        "widestPrefix" => {
            let mut fields = Fields::new(value, "widestPrefix", report)?;
            let [ipv4, ipv6] = ["ipv4", "ipv6"].map(|name| fields.take(name));
            fields.finish(report, |_| None);
            if ipv4.is_none() && ipv6.is_none() {
                let what = "`widestPrefix` limits no family";
                report.error(value.at, "bad-guardrail", what, "{ipv4: 16, ipv6: 32}");
                return None;
            }
            Demand::WidestPrefix { ipv4: bits(ipv4, 32, report)?, ipv6: bits(ipv6, 128, report)? }
        }
        "exactNames" if fields::truth(value, "exactNames", report)? => Demand::ExactNames,
        "exactNames" => {
            report.error(value.at, "bad-guardrail", "it demands nothing", "exactNames: true");
            return None;
        }
        _ => {
            let mut fields = Fields::new(value, "require", report)?;
            let [labels, annotations] = ["labels", "annotations"].map(|name| fields.take(name));
            fields.finish(report, |_| None);
            let labels = texts(labels, "labels", report);
            let annotations = texts(annotations, "annotations", report);
            if labels.is_empty() && annotations.is_empty() {
                let instead = "require: {annotations: [example.com/owner]}";
                report.error(value.at, "bad-guardrail", "it demands nothing", instead);
                return None;
            }
            Demand::Require { labels, annotations }
        }
    };
    let name = name?;
    let name = fields::text(name, "name", report)?.to_owned();
    let why = match why {
        Some(why) => Some(fields::text(why, "why", report)?.to_owned()),
        None => None,
    };
    let only_for = match only_for {
        Some(node) => Some(read_subject(node, report)?),
        None => None,
    };
    let exempt = texts(exempt, "exempt", report);
    let path = report.source().path.clone();
    Some(Guardrail { name, path, at: node.at, why, demand, only_for, exempt })
}

fn read_subject(node: &Node, report: &mut Report<'_>) -> Option<Subject> {
    match fields::text(node, "for", report)? {
        "nodes" => Some(Subject::Nodes),
        "pods" => Some(Subject::Pods),
        written => {
            let what = format!("there are no policies for `{written}`");
            report.error(node.at, "bad-guardrail", what, "nodes or pods");
            None
        }
    }
}

/// Rules as policies write them, in lists by direction.
fn read_rules(node: &Node, of: &'static str, report: &mut Report<'_>) -> Option<Vec<PolicyRule>> {
    let mut fields = Fields::new(node, of, report)?;
    let lists = [("ingress", Direction::Ingress), ("egress", Direction::Egress)]
        .map(|(name, direction)| (fields.take_entry(name), direction));
    fields.finish(report, |unknown| {
        unknown.ends_with("Deny").then(|| "ingress or egress: a guardrail has no answer".to_owned())
    });
    let dialect = Dialect::default();
    let mut rules = Vec::new();
    for (list, direction) in lists {
        let Some(list) = list else { continue };
        // A rule of a guardrail is read as one of a policy for every namespace.
        let (namespace, dialect) = (None, &dialect);
        let context = Context { direction, deny: false, for_nodes: false, namespace, dialect };
        rules.extend(rule::read_list(list, context, report));
    }
    debug_assert!(rules.iter().all(|rule| rule.action == Action::Allow));
    if rules.is_empty() {
        let what = "the guardrail names nothing";
        report.error(node.at, "bad-guardrail", what, format!("{of}: {{ingress: [...]}}"));
        return None;
    }
    for rule in &rules {
        if let Services::Only(entries) = &rule.services
            && entries.iter().any(|entry| entry.l7.is_some())
        {
            let what = "a guardrail is about connections, not about what is said on them";
            report.error(rule.at, "bad-guardrail", what, "remove `rules`");
        }
    }
    Some(rules)
}

/// The length of a prefix; `None` outside when it is wrong.
fn bits(node: Option<&Node>, most: u8, report: &mut Report<'_>) -> Option<Option<u8>> {
    let Some(node) = node else { return Some(None) };
    let written = match &node.value {
        Value::Number(written) => written.parse().ok().filter(|bits| *bits <= most),
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => None,
    };
    if written.is_none() {
        let what = "the length of a prefix is a number of bits";
        report.error(node.at, "bad-guardrail", what, format!("a number from 0 to {most}"));
        return None;
    }
    Some(written)
}

fn texts(node: Option<&Node>, name: &str, report: &mut Report<'_>) -> Vec<String> {
    let items = node.and_then(|node| fields::list(node, name, report)).unwrap_or_default();
    let texts = items.iter().filter_map(|item| fields::text(item, name, report));
    texts.map(str::to_owned).collect()
}
