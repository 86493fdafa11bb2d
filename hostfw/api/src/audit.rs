//! Audit mode and what it found: flows that no rule allows, which pass, and
//! flows that a deny rule drops, which do not.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Direction, RuleOrigin};

/// Whether the node audits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    /// True: what no rule allows passes and is reported.
    pub on: bool,
    /// Since when it is on or off.
    pub since_unix_s: u64,
    /// Who said so.
    pub source: AuditSource,
}

/// Who switched audit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditSource {
    /// `audit:` in the configuration file.
    Config,
    /// A request at run time. It is kept over restarts and holds until `audit:`
    /// in the configuration file changes.
    Runtime,
}

/// Switches audit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    /// What it shall be.
    pub mode: AuditMode,
}

/// Audit mode as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditMode {
    /// Report what no rule allows.
    On,
    /// Drop what no rule allows.
    Off,
}

/// What was denied, or would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The mode now.
    pub audit: AuditState,
    /// Denied flows, the most recent first.
    pub flows: Vec<DeniedFlow>,
    /// Flows that were forgotten because the list is bounded.
    pub n_forgotten: u64,
}

/// Packets that one peer sent, or that were sent to it, on one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedFlow {
    /// Which way the packets went.
    pub direction: Direction,
    /// Address of the other end; the sender of a packet that is forwarded.
    pub peer: IpAddr,
    /// Where a packet goes that this node forwards, as it was seen: before
    /// translation in one direction, behind it in the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_to: Option<IpAddr>,
    /// Number of the IP protocol.
    pub protocol: u8,
    /// Destination port, ICMP type, or 0 for protocols without either.
    pub port: u16,
    /// Stable name of the reason, such as `default-deny`.
    pub reason: String,
    /// The deny rule; none when nothing allowed the packets.
    pub rule: Option<RuleOrigin>,
    /// True: dropped. False: passed because the node audits.
    pub dropped: bool,
    /// Packets that were reported; a flood is sampled, so there may be more.
    pub packets: u64,
    /// Time since the first of them.
    pub first_seen_ago_s: u64,
    /// Time since the last of them.
    pub last_seen_ago_s: u64,
}
