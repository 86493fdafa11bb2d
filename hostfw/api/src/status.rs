//! The answer to "is this node protected, and by what": modes, generation,
//! files, devices, and everything that is not as it should be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AuditState, LinkReport, UnfilteredLink};

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the daemon.
    pub version: String,
    /// Seconds since the daemon started; enforcement may be older.
    pub uptime_s: u64,
    /// The kernel, and what it lacks; empty from a daemon that does not say.
    #[serde(default)]
    pub kernel: KernelReport,
    /// Who this node is, as policies see it.
    pub node: NodeReport,
    /// What the kernel does with incoming packets, read from its maps.
    pub ingress: Mode,
    /// What the kernel does with outgoing packets, read from its maps.
    pub egress: Mode,
    /// What the kernel does with packets that this host forwards for others.
    pub forwarded: Mode,
    /// Whether `enforcement: never` keeps everything out of force, whatever
    /// rules select this node.
    #[serde(default)]
    pub never_enforced: bool,
    /// Whether default denies are reported rather than enforced.
    pub audit: AuditState,
    /// The generation in force; none before the first one.
    pub generation: Option<GenerationReport>,
    /// The newest state of the files, where it was refused. The generation in
    /// force is older than these files.
    pub refused: Option<RefusedSet>,
    /// Warnings about the files of the generation in force.
    pub warnings: Vec<Complaint>,
    /// Files in the watched directories that are not read.
    pub ignored: Vec<IgnoredFile>,
    /// The connection tables.
    #[serde(default)]
    pub tables: TablesReport,
    /// Filtered devices, each with what the kernel says is attached.
    pub devices: Vec<LinkReport>,
    /// Policies of the generation in force, those of other nodes included.
    pub policies: Vec<PolicyReport>,
    /// Devices on which programs of another version of hostfw still judge, by what
    /// was in force when it was replaced.
    #[serde(default)]
    pub judged_by_another_version: Vec<String>,
    /// Interfaces that are up and not filtered.
    pub unfiltered: Vec<UnfilteredLink>,
    /// Everything else that is not as it should be, one sentence each.
    pub problems: Vec<String>,
}

/// The kernel under the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelReport {
    /// Its release, as it names itself.
    pub release: String,
    /// What a trial has shown to be missing, one sentence each with the version
    /// that has it and what happens without.
    pub lacks: Vec<String>,
}

/// A node as policies see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Name of the Node object, or of the host.
    pub name: String,
    /// Labels that a nodeSelector sees.
    pub labels: BTreeMap<String, String>,
}

/// What happens to the packets of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// No generation is loaded: everything passes.
    NoPolicy,
    /// A generation is loaded, and no rule selects this node in this
    /// direction, or the configuration enforces never: everything passes.
    NotEnforced,
    /// Rules decide; what no rule allows passes and is reported. Deny rules
    /// are enforced.
    Audit,
    /// Rules decide; what no rule allows is dropped.
    Enforcing,
}

/// One complete set of rules in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationReport {
    /// Counted by the daemon, over restarts too.
    pub number: u32,
    /// When it was switched in.
    pub loaded_at_unix_s: u64,
    /// Slot of the kernel's image table.
    pub slot: u32,
    /// Checksum of the image as read back from the kernel.
    pub checksum: u32,
    /// Rules in it, built-in ones included.
    pub n_rules: u32,
    /// Size of the image.
    pub n_bytes: u64,
}

/// How full the connection tables are. No allowed packet is dropped because one
/// is full: the oldest entries make room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablesReport {
    /// What this host has opened, or masquerades for others, but `own_tcp`.
    pub own: TableReport,
    /// TCP connections that this host has opened and that have a place of their own:
    /// a silent one makes room for another and moves to `own`, so none is evicted.
    pub own_tcp: TableReport,
    /// What others have opened, but TCP.
    pub admitted: TableReport,
    /// TCP connections that others have opened.
    pub admitted_tcp: TableReport,
    /// Connections that were ended since the daemon started, because their
    /// policy wants it.
    pub ended: u64,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Entries in it, those that were idle too long included.
    pub entries: u64,
    /// How many there can be.
    pub capacity: u64,
    /// Entries that had to make room for newer ones.
    pub evicted: u64,
}

/// A state of the files that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSet {
    /// Since when the newest state of the files is refused.
    pub since_unix_s: u64,
    /// Why, in the order of the files. At least one is an error.
    pub complaints: Vec<Complaint>,
}

/// What is wrong at one place of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The file.
    pub path: String,
    /// Counted from 1; 0 when the complaint is about the whole file.
    pub line: u32,
    /// In characters, counted from 1; 0 when the complaint is about the line.
    pub column: u32,
    /// Whether the files are refused for it.
    pub severity: Severity,
    /// Stable name of the kind of complaint.
    pub code: String,
    /// What is wrong.
    pub what: String,
    /// What to write; empty when there is nothing to suggest.
    pub instead: String,
    /// The line itself; empty when there is none.
    pub excerpt: String,
}

/// How much a complaint matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The whole set of files is refused.
    Error,
    /// The files are taken; the author probably meant something else.
    Warning,
}

/// A file that is not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredFile {
    /// The file.
    pub path: String,
    /// Why, as a lowercase fragment such as "a directory".
    pub why: String,
}

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// `metadata.name`.
    pub name: String,
    /// The file it stands in.
    pub path: String,
    /// Where the document starts, counted from 1.
    pub line: u32,
    /// Whether its nodeSelector matches this node.
    pub selects_this_node: bool,
    /// Rules it puts in force on this node.
    pub n_rules: u32,
}
