//! Who asks whom for what, and what should come of it in each phase.
//!
//! A rule is named by the first line of its item in the policy file, so that
//! the line numbers in the table are checked and not merely shown.

use std::{fs, path::PathBuf};

/// What is in force while a probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is dropped that no rule allows; it is reported.
    Audit,
    /// The policies are enforced.
    Enforcing,
    /// One file has been edited.
    Edited,
}

impl Phase {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Audit => "audit: everything passes, and what no rule allows is reported",
            Self::Enforcing => "enforcing: what no rule allows is dropped",
            Self::Edited => "host-control-plane.yaml edited: backups in, one worker out",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A login.
    Ssh,
    /// A page.
    Http,
    /// A connection.
    Tcp,
    /// An echo.
    Ping,
}

impl What {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ssh => "login",
            Self::Http => "page",
            Self::Tcp => "connect",
            Self::Ping => "ping",
        }
    }
}

/// What decided about the first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// A rule, by file name and line.
    Rule { file: String, line: u32, allows: bool },
    /// No rule allows it.
    NoRule { audited: bool },
    /// Several rules, or none that could be seen: never expected.
    Unclear(String),
}

impl Decision {
    pub(super) fn reached(&self) -> bool {
        match self {
            Self::Rule { allows, .. } => *allows,
            Self::NoRule { audited } => *audited,
            Self::Unclear(_) => false,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Rule { file, line, .. } => format!("{file}:{line}"),
            Self::NoRule { audited: true } => "no rule; audited".into(),
            Self::NoRule { audited: false } => "no rule; denied".into(),
            Self::Unclear(what) => what.clone(),
        }
    }
}

/// A rule by file and by the text that its item starts with.
type Item = Option<(&'static str, &'static str)>;

/// One question of one host to another.
pub(super) struct Probe {
    /// Host, or `pod` for the pod on the worker.
    pub(super) from: &'static str,
    /// Node, with `/overlay` when it is asked through the tunnel.
    pub(super) to: &'static str,
    pub(super) port: u16,
    pub(super) what: What,
    by: Item,
    /// The rule after the edit, when it is another one.
    edited: Option<Item>,
}

impl Probe {
    /// After the edit, only its own node is asked again.
    pub(super) fn belongs_to(&self, phase: Phase) -> bool {
        phase != Phase::Edited || self.to == "cp-1"
    }

    pub(super) fn port_name(&self) -> String {
        if self.what == What::Ping { "icmp".into() } else { self.port.to_string() }
    }

    /// # Panics
    /// When the script names a rule that is not in the file.
    pub(super) fn expected(&self, phase: Phase) -> Decision {
        let item = if phase == Phase::Edited { self.edited.unwrap_or(self.by) } else { self.by };
        match item {
            Some((file, start)) => {
                let folder =
                    if phase == Phase::Edited && file == EDITED { "edited" } else { "policies.d" };
                let text = policy_text(&format!("{folder}/{file}"));
                // The last one: a deny rule stands behind the allow rules.
                let line = text.lines().zip(1..).filter(|(line, _)| line.trim().starts_with(start));
                let line = line.last().unwrap_or_else(|| panic!("{file} has no {start}")).1;
                Decision::Rule { file: file.into(), line, allows: start != CUT_OFF }
            }
            None => Decision::NoRule { audited: phase == Phase::Audit },
        }
    }
}

const ALL: &str = "host-all.yaml";
pub(super) const EDITED: &str = "host-control-plane.yaml";
const INFRA: &str = "host-infra.yaml";
/// The only deny rule of the demonstration.
const CUT_OFF: &str = "- fromNodes:";

const SSH: Item = Some((ALL, "- fromCIDR:"));
const ALIVE: Item = Some((ALL, "- icmps:"));
const KUBELET: Item = Some((ALL, "- fromEntities: [kube-apiserver]"));
const METRICS: Item = Some((ALL, "- fromEndpoints:"));
const API: Item = Some((EDITED, "- toPorts:"));
const BACKUP: Item = Some((EDITED, "- fromCIDR:"));
const WEB: Item = Some((INFRA, "- toPorts:"));

/// A file of `etc/demo`.
///
/// # Panics
/// When it is not there.
pub(super) fn policy_text(file: &str) -> String {
    let path = demo_folder().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folder `etc/demo` of the source tree.
pub(super) fn demo_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../etc/demo")
}

/// The script.
pub(super) fn probes() -> Vec<Probe> {
    let ask = |from, to, port, what, by| Probe { from, to, port, what, by, edited: None };
    let edited = |probe: Probe, by| Probe { edited: Some(by), ..probe };
    vec![
        ask("jump", "cp-1", 22, What::Ssh, SSH),
        ask("jump", "infra-1", 22, What::Ssh, SSH),
        ask("jump", "worker-1", 22, What::Ssh, SSH),
        ask("worker-1", "cp-1", 22, What::Ssh, None),
        ask("jump", "cp-1", 6443, What::Tcp, API),
        edited(ask("worker-1", "cp-1", 6443, What::Tcp, API), Some((EDITED, CUT_OFF))),
        ask("infra-1", "cp-1", 6443, What::Tcp, API),
        edited(ask("jump", "cp-1", 2379, What::Http, None), BACKUP),
        ask("worker-1", "cp-1", 2379, What::Http, None),
        ask("infra-1", "cp-1", 2380, What::Tcp, None),
        ask("cp-1", "worker-1", 10250, What::Tcp, KUBELET),
        ask("cp-1", "infra-1", 10250, What::Tcp, KUBELET),
        ask("infra-1", "worker-1", 10250, What::Tcp, None),
        ask("jump", "cp-1", 10250, What::Tcp, None),
        ask("jump", "infra-1", 80, What::Http, WEB),
        ask("worker-1", "infra-1", 443, What::Http, WEB),
        ask("jump", "worker-1", 0, What::Ping, ALIVE),
        ask("infra-1", "cp-1/overlay", 0, What::Ping, ALIVE),
        ask("infra-1", "cp-1/overlay", 10250, What::Tcp, None),
        ask("pod", "cp-1/overlay", 10250, What::Tcp, METRICS),
        ask("jump", "cp-1/overlay", 0, What::Ping, None),
    ]
}
