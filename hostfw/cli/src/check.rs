//! `hostfw policy check`: would the daemon take these files, whom do they
//! select, and what do they come to on one node?

use hostfw_api::{CheckReport, CheckedCases, CheckedNode, CheckedPolicy, Complaint, Severity};
use hostfw_policy::{
    CompileError, Compiled, Direction, PodName, Policy, Source, SubjectName, ThisNode,
    cases::{self, Answers},
    guardrails, selected_pods,
};

use crate::{
    Outcome,
    arguments::{CheckWanted, Enforcement, Form},
    cases::not_run,
    directory,
    failure::Failure,
    offline::{self, Files},
    online::json,
    render::{self, Page},
};

/// So many pods are shown by their names; of more their number has to do.
const FEW_PODS: usize = 6;

/// Yes when the files are accepted.
pub(crate) fn check(wanted: &CheckWanted, form: Form, page: &Page) -> anyhow::Result<Outcome> {
    let report = report(wanted)?;
    let text = match form {
        Form::Text => render::check::render(&report, page),
        Form::Json => json(serde_json::to_string_pretty(&report))?,
        Form::Sarif => json(serde_json::to_string_pretty(&render::sarif::log(&report.complaints)))?,
        Form::Github => render::github::render(&report.complaints),
        Form::Junit => {
            return Err(Failure::Usage("only `policy test` has this form".to_owned()).into());
        }
    };
    Ok(Outcome { text, yes: report.accepted })
}

fn report(wanted: &CheckWanted) -> anyhow::Result<CheckReport> {
    let circumstances = &wanted.circumstances;
    let files = Files::read(circumstances)?;
    let node = match &wanted.node {
        Some(name) => Some(files.node(name, circumstances)?),
        None => None,
    };
    let nodes: Vec<ThisNode> = match &node {
        Some(node) => vec![node.clone()],
        None => {
            let names = files.world.nodes.keys();
            names.map(|name| offline::bare(name, circumstances)).collect()
        }
    };
    let selected = files.selected(nodes.iter(), circumstances)?;
    let on = node.as_ref().map(|node| node.name.as_str());
    let pods = selected_pods(&files.policies, &files.world, on, &offline::options(circumstances));
    let selected = selected.into_iter().zip(pods);
    let mut report = CheckReport {
        accepted: !files.are_refused(),
        complaints: files.complaints.clone(),
        ignored: files.ignored.clone(),
        policies: files.policies.iter().zip(selected).map(checked).collect(),
        n_nodes: count(files.world.nodes.len()),
        n_pods: count(files.world.pods.len()),
        cases: CheckedCases::default(),
        node: None,
    };
    if !report.accepted {
        return Ok(report);
    }
    let conflicts = files.conflicts(node.as_ref(), circumstances);
    report.accepted &= conflicts.is_empty();
    report.complaints.extend(conflicts);
    let mut image = None;
    if let Some(node) = &node {
        match files.compile(node, circumstances) {
            Ok(compiled) => {
                let never = circumstances.enforcement == Enforcement::Never;
                report.node = Some(on_node(node.name.clone(), &compiled, never));
                image = Some(compiled);
            }
            Err(error) => {
                report.accepted = false;
                report.complaints.push(does_not_fit(wanted, &error));
            }
        }
    }
    let node = node.as_ref();
    let anywhere = ThisNode::default();
    let mut sources: Vec<Source> = guardrails::among(&files.sources).cloned().collect();
    for path in &wanted.guardrails {
        sources.extend(directory::read(path)?.sources);
    }
    match files.held_against(&sources, node.unwrap_or(&anywhere), circumstances) {
        Ok(complaints) => {
            report.accepted &= complaints.iter().all(|one| one.severity != Severity::Error);
            report.complaints.extend(complaints);
        }
        Err(error) => {
            report.accepted = false;
            report.complaints.push(does_not_fit(wanted, &error));
        }
    }
    add_cases(&mut report, &files, files.answers(node, circumstances));
    report.complaints.extend(files.warnings(node, circumstances, image.as_ref()));
    Ok(report)
}

/// Cases that cannot be read or fail refuse the set, as in the daemon.
fn add_cases(report: &mut CheckReport, files: &Files, answers: Answers) {
    let Answers { results, unasked, complaints } = answers;
    let is_error = |one: &hostfw_policy::Complaint| one.severity == hostfw_policy::Severity::Error;
    report.accepted &= !complaints.iter().any(is_error);
    report.complaints.extend(complaints.into_iter().map(offline::complaint));
    report.cases.not_run.extend(unasked.into_iter().map(not_run));
    for result in &results {
        if result.passed() {
            report.cases.passed += 1;
        } else {
            report.cases.failed += 1;
            report.accepted = false;
            report.complaints.push(offline::complaint(cases::complaint(result, &files.sources)));
        }
    }
}

fn checked((policy, (selects, pods)): (&Policy, (Vec<String>, Vec<PodName<'_>>))) -> CheckedPolicy {
    let named = if pods.len() > FEW_PODS { &[][..] } else { &pods };
    CheckedPolicy {
        name: policy.name.clone(),
        path: policy.path.clone(),
        line: policy.at.line,
        selects,
        n_pods: count(pods.len()),
        pods: named.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect(),
    }
}

/// A set of policies that is too large, or whose rules contradict each other, is
/// refused like one with an error.
fn does_not_fit(wanted: &CheckWanted, error: &CompileError) -> Complaint {
    Complaint {
        path: wanted.circumstances.policies.display().to_string(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        code: match error {
            CompileError::Conflict { .. } => "conflict",
            CompileError::TooLarge
            | CompileError::TooManyPeerClasses
            | CompileError::TooManyPortClasses => "does-not-fit",
        }
        .to_owned(),
        what: error.to_string(),
        instead: String::new(),
        excerpt: String::new(),
    }
}

fn on_node(name: String, compiled: &Compiled, never_enforced: bool) -> CheckedNode {
    let n_bytes = compiled.words.len().saturating_mul(size_of::<u32>());
    CheckedNode {
        name,
        ingress_in_force: compiled.in_force(Direction::Ingress),
        egress_in_force: compiled.in_force(Direction::Egress),
        forward_in_force: compiled.subject(&SubjectName::Forward).is_some(),
        never_enforced,
        n_rules: count(compiled.rules.len()),
        n_bytes: u64::try_from(n_bytes).unwrap_or(u64::MAX),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
