//! What the daemon and the command say to each other: the paths of the local
//! API and the types of its JSON, with those that `hostfw policy -o json`
//! prints. Types only: how a report comes about, how it travels and how it is
//! shown is not known here.
//!
//! The transport is HTTP/1.1 over a Unix socket. An answer with status 200
//! carries the report of its path; any other status carries an [`ApiError`].
//! Names are `snake_case`, variants `kebab-case`. Moments end in `_unix_s`
//! (seconds since 1970 UTC), distances in `_s` or, back from the moment of the
//! answer, in `_ago_s`. A reader ignores fields it does not know.
#![forbid(unsafe_code)]

mod status;

mod rules;

mod links;

mod connections;

mod audit;

mod offline;

use serde::{Deserialize, Serialize};

pub use crate::{
    audit::{AuditMode, AuditReport, AuditRequest, AuditSource, AuditState, DeniedFlow},
    connections::{Connection, ConnectionsReport, OpenedBy},
    links::{Attachment, HookReport, Layer, LinkReport, LinksReport, UnfilteredLink},
    offline::{
        CaseNotRun, CaseReport, CasesReport, CheckReport, CheckedCases, CheckedNode, CheckedPolicy,
        ConnectionReport, DiffAnswer, DiffChange, DiffEnforcement, DiffKind, DiffReport,
        ExplainReport, ExplainedPart, ExplainedPolicy, ExplainedRule, TraceAction, TraceReport,
        TraceStep, TracedEnd, TracedRule,
    },
    rules::{DirectionCounters, ReasonCounter, RuleKind, RuleOrigin, RuleReport, RulesReport},
    status::{
        Complaint, GenerationReport, IgnoredFile, KernelReport, Mode, NodeReport, PolicyReport,
        RefusedSet, Severity, StatusReport, TableReport, TablesReport,
    },
};

/// Where the daemon listens when nothing else is configured.
pub const DEFAULT_SOCKET: &str = "/run/hostfw/api.sock";

/// `GET`: [`StatusReport`].
pub const STATUS_PATH: &str = "/v1/status";
/// `GET`: [`RulesReport`].
pub const RULES_PATH: &str = "/v1/rules";
/// `GET`: [`LinksReport`].
pub const LINKS_PATH: &str = "/v1/links";
/// `GET`: [`ConnectionsReport`].
pub const CONNECTIONS_PATH: &str = "/v1/connections";
/// `GET`: [`AuditReport`]. `POST` with an [`AuditRequest`]: the same, after the
/// change.
pub const AUDIT_PATH: &str = "/v1/audit";
/// `POST` without a body: reads every file again and answers with the
/// [`StatusReport`] that results, or with an error where the kernel did not
/// take what the files say.
pub const RELOAD_PATH: &str = "/v1/reload";

/// Which way a packet goes, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards this host.
    Ingress,
    /// From this host.
    Egress,
}

/// Why a request was not answered with a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// A lowercase fragment without a full stop, fit for "hostfw: {message}".
    pub message: String,
}
