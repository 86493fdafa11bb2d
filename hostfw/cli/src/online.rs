//! The commands that ask the daemon: which path, which part of the answer, and
//! whether it means yes.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use hostfw_api::{
    AUDIT_PATH, AuditMode, AuditReport, AuditRequest, CONNECTIONS_PATH, ConnectionsReport,
    LINKS_PATH, LinksReport, RELOAD_PATH, RULES_PATH, RulesReport, STATUS_PATH, StatusReport,
};

use crate::{
    Outcome,
    arguments::{AuditVerb, ConnectionsWanted, Output, RulesWanted},
    failure::Failure,
    faults::faults,
    render::{self, Page},
    transport::{get, post},
};

/// `hostfw status`: yes when nothing is wrong.
pub(crate) fn status(socket: &Path, output: Output, page: &Page) -> anyhow::Result<Outcome> {
    let body = get(socket, STATUS_PATH)?;
    let report: StatusReport = serde_json::from_slice(&body).context(STRANGE)?;
    let text = match output {
        Output::Text => render::status::render(&report, now_unix_s(), page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: faults(&report).is_empty() })
}

/// `hostfw reload`: yes when what the files say now is in force.
pub(crate) fn reload(socket: &Path, output: Output, page: &Page) -> anyhow::Result<Outcome> {
    let body = post(socket, RELOAD_PATH, &[])?;
    let report: StatusReport = serde_json::from_slice(&body).context(STRANGE)?;
    let text = match output {
        Output::Text => render::reload::render(&report, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: report.refused.is_none() })
}

/// `hostfw rules`.
pub(crate) fn rules(
    socket: &Path,
    wanted: RulesWanted,
    output: Output,
    page: &Page,
) -> anyhow::Result<Outcome> {
    let body = get(socket, RULES_PATH)?;
    let mut report: RulesReport = serde_json::from_slice(&body).context(STRANGE)?;
    if wanted.unused {
        report.rules.retain(|rule| rule.packets == 0);
    }
    let text = match output {
        Output::Text => render::rules::render(&report, wanted.unused, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: true })
}

/// `hostfw links`: yes when every device that is to be filtered is.
pub(crate) fn links(socket: &Path, output: Output, page: &Page) -> anyhow::Result<Outcome> {
    let body = get(socket, LINKS_PATH)?;
    let report: LinksReport = serde_json::from_slice(&body).context(STRANGE)?;
    let text = match output {
        Output::Text => render::links::render(&report, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    let filtered = report.links.iter().all(|link| link.ingress.is_some() && link.egress.is_some());
    Ok(Outcome { text, yes: filtered && !report.links.is_empty() })
}

/// `hostfw metrics`. Whether something is wrong is one of the samples.
pub(crate) fn metrics(socket: &Path, output: Output) -> anyhow::Result<Outcome> {
    if output == Output::Json {
        return Err(Failure::Usage(
            "samples have one form; `hostfw status -o json` and `hostfw rules -o json` have the rest"
                .to_owned(),
        )
        .into());
    }
    let status: StatusReport =
        serde_json::from_slice(&get(socket, STATUS_PATH)?).context(STRANGE)?;
    let rules: RulesReport = serde_json::from_slice(&get(socket, RULES_PATH)?).context(STRANGE)?;
    let text = render::metrics::render(&status, &rules, faults(&status).len());
    Ok(Outcome { text, yes: true })
}

/// `hostfw connections`.
pub(crate) fn connections(
    socket: &Path,
    wanted: ConnectionsWanted,
    output: Output,
    page: &Page,
) -> anyhow::Result<Outcome> {
    let body = get(socket, CONNECTIONS_PATH)?;
    let mut report: ConnectionsReport = serde_json::from_slice(&body).context(STRANGE)?;
    if let Some(peer) = wanted.peer {
        report.connections.retain(|connection| connection.remote == peer);
    }
    let n_found = report.connections.len();
    report.connections.truncate(wanted.limit.unwrap_or(usize::MAX));
    let n_left_out = u64::try_from(n_found - report.connections.len()).unwrap_or(u64::MAX);
    let text = match output {
        Output::Text => render::connections::render(&report, n_left_out, page),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: true })
}

/// `hostfw audit on|off|report`.
pub(crate) fn audit(
    socket: &Path,
    verb: AuditVerb,
    output: Output,
    page: &Page,
) -> anyhow::Result<Outcome> {
    let mode = match verb {
        AuditVerb::On => Some(AuditMode::On),
        AuditVerb::Off => Some(AuditMode::Off),
        AuditVerb::Report => None,
    };
    let body = match mode {
        Some(mode) => {
            let request =
                serde_json::to_vec(&AuditRequest { mode }).context("write the request")?;
            post(socket, AUDIT_PATH, &request)?
        }
        None => get(socket, AUDIT_PATH)?,
    };
    let report: AuditReport = serde_json::from_slice(&body).context(STRANGE)?;
    let text = match (output, mode) {
        (Output::Text, None) => render::audit::render(&report, now_unix_s(), page),
        (Output::Text, Some(_)) => render::audit::render_mode(&report, now_unix_s(), page),
        (Output::Json, _) => json(serde_json::to_string_pretty(&report))?,
    };
    Ok(Outcome { text, yes: true })
}

/// JSON as it is printed.
pub(crate) fn json(text: serde_json::Result<String>) -> anyhow::Result<String> {
    let mut text = text.context("write JSON")?;
    text.push('\n');
    Ok(text)
}

/// Seconds since 1970 UTC; a clock before that reads as 0.
fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_secs())
}

const STRANGE: &str = "understand the answer (are hostfw and hostfwd of one version?)";
