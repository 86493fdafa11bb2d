//! Answers to requests, in plain structs. The shell adds what only the kernel
//! knows (counters, proof of attachment) and puts it all into the words of the
//! API.

use std::{collections::BTreeMap, sync::Arc};

use hostfw_policy::{Complaint, Enforcement, World, node_labels};

use crate::{
    audit::AuditState,
    control::Control,
    device::{Device, Unfiltered},
    directory::Ignored,
    inputs::Generation,
    link::LinkAddress,
};

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To `Status` and `Reload`.
    Status(Box<StatusReport>),
    /// To `Rules`.
    Rules(RulesReport),
    /// To `Links`.
    Links(LinksReport),
    /// To `Audit` and `SetAudit`, with what is in the way.
    Audit {
        /// The mode.
        audit: AuditState,
        /// Problems, one sentence each.
        problems: Vec<String>,
    },
}

/// The state of the node.
#[derive(Clone, Debug)]
pub struct StatusReport {
    /// Name of the node.
    pub node: String,
    /// Labels that a nodeSelector sees, as far as the configuration gives them.
    pub labels: BTreeMap<String, String>,
    /// Audit mode as it shall be.
    pub audit: AuditState,
    /// Whether the configuration enforces never.
    pub never_enforced: bool,
    /// What is in force.
    pub generation: Option<GenerationReport>,
    /// The newest state of the files, where it was refused.
    pub refused: Option<Refused>,
    /// What the kernel did not take of what the files say, one sentence each.
    pub not_in_force: Vec<String>,
    /// Warnings about the files that count.
    pub warnings: Vec<Complaint>,
    /// Files that are not read.
    pub ignored: Vec<Ignored>,
    /// Devices.
    pub links: LinksReport,
    /// Everything else that is not as it should be, one sentence each.
    pub problems: Vec<String>,
}

/// The generation in force.
#[derive(Clone, Debug)]
pub struct GenerationReport {
    /// Its number.
    pub number: u32,
    /// Its slot.
    pub slot: u32,
    /// Audit mode as it is in force.
    pub audit: bool,
    /// Since when, on the clock of the events.
    pub since_ms: u64,
    /// The generation itself; none when it was adopted and is not known.
    pub generation: Option<Arc<Generation>>,
}

/// Files that were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Since when, on the clock of the events.
    pub since_ms: u64,
    /// Why.
    pub complaints: Vec<Complaint>,
}

/// The rules in force.
#[derive(Clone, Debug)]
pub struct RulesReport {
    /// What is in force.
    pub generation: Option<GenerationReport>,
}

/// Devices, filtered and not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinksReport {
    /// Devices that are to be filtered, by name.
    pub devices: Vec<DeviceReport>,
    /// Devices that are not, by name.
    pub unfiltered: Vec<Unfiltered>,
}

/// A device that is to be filtered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceReport {
    /// The device.
    pub device: Device,
    /// Its addresses.
    pub addresses: Vec<LinkAddress>,
    /// True when the kernel confirmed the attachment.
    pub attached: bool,
    /// Why it is not attached.
    pub problem: Option<String>,
}

impl Control {
    pub(crate) fn status(&self) -> StatusReport {
        let ignored = self.policies.ignored().iter().chain(self.world.ignored()).cloned().collect();
        StatusReport {
            node: self.config.node_name(&self.hostname).to_owned(),
            labels: self.node_labels(),
            audit: self.audit.state(),
            never_enforced: self.never_enforced(),
            generation: self.generation_report(),
            refused: self.refused(),
            not_in_force: self.generations.refusals().collect(),
            warnings: self.generations.warnings().to_vec(),
            ignored,
            links: self.links_report(),
            problems: self.problems(),
        }
    }

    /// Whether what was compiled last is in force nowhere, as the configuration
    /// wants it.
    fn never_enforced(&self) -> bool {
        let options = self.generations.inputs().map(|inputs| inputs.options);
        options.is_some_and(|options| options.enforcement == Enforcement::Never)
    }

    /// What selectors see: with the world in use, or, before there is one, with
    /// the configuration alone.
    fn node_labels(&self) -> BTreeMap<String, String> {
        let none = World::default();
        let world = self.generations.inputs().map(|inputs| &inputs.world.parsed);
        let links = self.links.as_deref().unwrap_or_default();
        let node = self.config.this_node(&self.hostname, links);
        node_labels(world.unwrap_or(&none), &node, &self.config.options)
    }

    pub(crate) fn rules(&self) -> RulesReport {
        RulesReport { generation: self.generation_report() }
    }

    pub(crate) fn links_report(&self) -> LinksReport {
        let addresses = |index: u32| {
            let link = self.links.iter().flatten().find(|link| link.index == index);
            link.map(|link| link.addresses.clone()).unwrap_or_default()
        };
        let mut devices: Vec<DeviceReport> = (self.choice.filtered.values())
            .map(|device| {
                let (attached, problem) = self.attachments.state(device.index);
                DeviceReport {
                    device: device.clone(),
                    addresses: addresses(device.index),
                    attached,
                    problem: problem.map(Into::into),
                }
            })
            .collect();
        devices.sort_by(|one, other| one.device.name.cmp(&other.device.name));
        let mut unfiltered = self.choice.unfiltered.clone();
        unfiltered.sort_by(|one, other| one.name.cmp(&other.name));
        LinksReport { devices, unfiltered }
    }

    /// Everything that is not as it should be, apart from refused files.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.attachments.problems().collect();
        problems.extend(self.generations.problems());
        let seed = self.seed.failure();
        problems.extend(seed.map(|why| format!("replies may be taken for new connections: {why}")));
        problems.extend(self.seed_gaps.iter().cloned());
        let audit = self.audit.store.failure();
        problems.extend(audit.map(|why| format!("audit mode will not survive a restart: {why}")));
        let links = self.links_failure.as_ref();
        problems.extend(links.map(|why| format!("devices are not listed: {why}")));
        let proof = self.proof_failure.as_ref();
        problems.extend(proof.map(|why| format!("attachments are not confirmed: {why}")));
        if self.restart_needed {
            problems.push(
                "`paths` or `devices.attach` changed in the configuration; restart hostfwd".into(),
            );
        }
        problems
    }

    /// One line for the service manager.
    pub(crate) fn status_line(&self) -> String {
        let mut line = match self.generation_report() {
            None => "nothing in force".to_owned(),
            Some(GenerationReport { number, audit, generation, .. }) => {
                let idle = generation.as_ref().is_some_and(|one| {
                    !one.ingress_in_force && !one.egress_in_force && !one.forward_in_force()
                });
                let mode = match (idle, audit) {
                    (true, _) if self.never_enforced() => "nothing enforced (enforcement: never)",
                    (true, _) => "no rule selects this node",
                    (false, true) => "auditing",
                    (false, false) => "enforcing",
                };
                format!("{mode}, generation {number}")
            }
        };
        let devices = self.choice.filtered.keys();
        let n_attached = devices.filter(|index| self.attachments.state(**index).0).count();
        line += &format!(", {n_attached} of {} devices filtered", self.choice.filtered.len());
        if self.refused().is_some() {
            line += ", newest files refused";
        }
        match self.problems().as_slice() {
            [] => {}
            [problem] => line += &format!(", {problem}"),
            [problem, rest @ ..] => line += &format!(", {problem} (and {} more)", rest.len()),
        }
        line
    }

    pub(crate) fn generation_report(&self) -> Option<GenerationReport> {
        self.generations.live().map(|live| GenerationReport {
            number: live.number,
            slot: live.in_force.slot,
            audit: live.in_force.audit,
            since_ms: live.since_ms,
            generation: live.generation.clone(),
        })
    }

    /// What is refused, wherever it stands.
    fn refused(&self) -> Option<Refused> {
        let files = [self.policies.refusal(), self.world.refusal()].into_iter().flatten();
        let files =
            files.map(|one| Refused { since_ms: one.since_ms, complaints: one.complaints.clone() });
        let compile = self.generations.compile_failure().map(|failure| Refused {
            since_ms: failure.since_ms,
            complaints: vec![failure.complaint.clone()],
        });
        files.chain(self.config_refusal.clone()).chain(compile).reduce(|mut all, one| {
            all.since_ms = all.since_ms.min(one.since_ms);
            all.complaints.extend(one.complaints);
            all
        })
    }
}
