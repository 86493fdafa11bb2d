//! How notes become log lines: the event in a few fixed words, everything that
//! varies in fields.

use std::io::IsTerminal;

use hostfw_control::{AuditSource, Note, Origin};
use hostfw_policy::Complaint;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::arguments::LogFormat;

/// Starts logging to the standard error stream, which the journal keeps.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("HOSTFW_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_target(false).init(),
        LogFormat::Text => {
            log.compact().with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
        }
    }
}

pub(crate) fn note(note: &Note) {
    match note {
        Note::Adopted { number, slot, audit } => {
            info!(generation = number, slot, audit, "adopted");
        }
        Note::InForce { number, slot, audit, n_rules } => {
            info!(generation = number, slot, audit, n_rules, "in force");
        }
        Note::Audit { on, source } => {
            let source = match source {
                AuditSource::Config => "config",
                AuditSource::Runtime => "runtime",
            };
            info!(on, source, "audit mode");
        }
        Note::Attached { name, how } => info!(device = name, how, "attached"),
        Note::Detached { name } => info!(device = name, "detached"),
        Note::Lost { name } => warn!(device = name, "programs were removed by somebody else"),
        Note::Unfiltered { name, why } => warn!(device = name, why, "not filtered"),
        Note::Refused { origin, complaints } => {
            let files = files(*origin);
            warn!(files, n_complaints = complaints.len(), "refused; the last good state stays");
            for complaint in complaints.iter().take(MOST_COMPLAINTS) {
                self::complaint(complaint);
            }
        }
        Note::Accepted { origin } => info!(files = files(*origin), "accepted again"),
        Note::Ignored(ignored) => {
            for file in ignored {
                info!(path = file.path, why = file.why, "ignored");
            }
        }
        Note::Failed { what, why } => warn!(what, why, "failed; nothing changed"),
    }
}

const fn files(origin: Origin) -> &'static str {
    match origin {
        Origin::Config => "configuration",
        Origin::Policies => "policies",
        Origin::World => "cluster",
    }
}

fn complaint(complaint: &Complaint) {
    let Complaint { path, line, column, code, what, instead, .. } = complaint;
    warn!(path, line, column, code, what, instead, "complaint");
}

/// The others are in the status report.
const MOST_COMPLAINTS: usize = 10;
