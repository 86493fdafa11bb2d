//! Holds policies against guardrails. Every policy is judged on its own: what
//! it allows, less what it denies itself, is what it stands for.

use std::collections::BTreeMap;

use super::{
    Demand, Guardrail,
    findings::{Findings, names_of, specs},
    reach, width,
};
use crate::{
    compile::CompileError,
    complaint::{Complaint, Report, Source},
    node::{Options, ThisNode},
    policy::{Action, Policy},
    world::World,
};

/// Complains about everything in the policies that a guardrail does not let
/// pass. `sources` are the files the policies were read from.
///
/// # Errors
/// The rules tell apart more than an image could hold.
pub fn check(
    guardrails: &[Guardrail],
    sources: &[Source],
    policies: &[Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
) -> Result<Vec<Complaint>, CompileError> {
    if guardrails.is_empty() {
        return Ok(Vec::new());
    }
    let mut findings = Findings::new(guardrails, policies);
    reach::find(&mut findings, world, node, options)?;
    for (number, guardrail) in guardrails.iter().enumerate() {
        match &guardrail.demand {
            // All of these are looked at together.
            Demand::Forbid(_) | Demand::AllowOnly(_) => {}
            Demand::WidestPrefix { ipv4, ipv6 } => {
                width::find(&mut findings, number, [*ipv4, *ipv6], world, options)?;
            }
            Demand::ExactNames => names(&mut findings, number),
            Demand::Require { labels, annotations } => {
                carried(&mut findings, number, labels, annotations);
            }
        }
    }
    let mut complaints = Vec::new();
    for source in sources {
        let mut report = Report::new(source);
        for (_, at, guardrail, what) in
            findings.each().filter(|(policy, ..)| policy.path == source.path)
        {
            let Guardrail { name, path, at: place, why, demand, .. } = guardrail;
            let what = format!("the guardrail `{name}` ({path}:{}) {what}", place.line);
            let instead = why.clone().unwrap_or_else(|| remedy(demand).to_owned());
            report.error(at, "guardrail", what, instead);
        }
        complaints.extend(report.finish());
    }
    Ok(complaints)
}

fn remedy(demand: &Demand) -> &'static str {
    match demand {
        Demand::Forbid(_) => "a rule that does not allow it",
        Demand::AllowOnly(_) => "only what the guardrail lists",
        Demand::WidestPrefix { .. } => "longer prefixes",
        Demand::ExactNames => "matchName, for each name",
        Demand::Require { .. } => "the key and its value in `metadata`",
    }
}

/// Names that are patterns.
fn names(findings: &mut Findings<'_>, number: usize) {
    for (policy, spec) in specs(findings.policies) {
        for rule in spec.rules.iter().filter(|rule| rule.action == Action::Allow) {
            for name in names_of(rule).filter(|name| name.is_wildcard()) {
                if findings.concerns(number, policy, spec) {
                    let what = format!("wants names in full, and `{}` is many", name.as_written());
                    findings.add(number, policy, rule.at, what);
                }
            }
        }
    }
}

/// What metadata lacks.
fn carried(findings: &mut Findings<'_>, number: usize, labels: &[String], annotations: &[String]) {
    for (at, policy) in findings.policies.iter().enumerate() {
        let concerned = policy.specs.iter().any(|spec| findings.concerns(number, at, spec));
        let has = |of: &BTreeMap<String, String>, key: &String| {
            of.get(key).is_some_and(|value| !value.trim().is_empty())
        };
        let missing = labels
            .iter()
            .filter(|key| !has(&policy.labels, key))
            .map(|key| format!("the label {key}"))
            .chain(
                annotations
                    .iter()
                    .filter(|key| !has(&policy.annotations, key))
                    .map(|key| format!("the annotation {key}")),
            )
            .collect::<Vec<_>>();
        if concerned && !missing.is_empty() {
            let what = format!("wants every policy to carry {}", missing.join(" and "));
            findings.add(number, at, policy.at, what);
        }
    }
}
