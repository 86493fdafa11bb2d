//! Reports in the words of the API: what `control` knows, joined with what only
//! the kernel can say.

use std::{collections::BTreeMap, net::IpAddr};

use hostfw_api as said;
use hostfw_control::{
    AuditSource, AuditState, DeviceReport, GenerationReport, Layer, LinksReport, Reply,
    StatusReport, Unfiltered,
};
use hostfw_daemon::{
    api::{Answer, Question},
    kernel::{Attached, Counts, Hook, How, Kernel, Listing},
};
use hostfw_datapath::{Direction, Image as _, flow::Table, image, place::PLACES};
use hostfw_policy::{Complaint, RuleKind, Severity};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::{
    clock,
    denied::{Denied, Origin},
    effects::chain,
    shell::Shell,
    tally::Tally,
};

/// Hands an answer to whoever asked; they may have left.
pub(crate) fn send(sender: oneshot::Sender<Answer>, answer: Answer) {
    drop(sender.send(answer));
}

/// The answer to a question that `control` was asked.
pub(crate) fn reply(shell: &Shell, question: Question, reply: &Reply) -> Answer {
    let kernel = &shell.kernel;
    match reply {
        // Files that are refused are part of the answer; files that were taken
        // and are not in force are a failure.
        Reply::Status(report)
            if question == Question::Reload && !report.not_in_force.is_empty() =>
        {
            Err(report.not_in_force.join("; ").into())
        }
        Reply::Status(report) => json(&status(report, shell)),
        Reply::Rules(report) => json(&rules(report.generation.as_ref(), kernel, &shell.tally)?),
        Reply::Links(report) => json(&said::LinksReport {
            links: devices(report, kernel),
            unfiltered: unfiltered(&report.unfiltered),
        }),
        Reply::Audit { audit, problems } => {
            // A mode that was asked for and is not in force is a failure.
            let in_force = kernel.in_force().is_none_or(|one| one.audit == audit.on);
            if matches!(question, Question::SetAudit(_)) && !in_force {
                return Err(problems.join("; ").into());
            }
            json(&audit_report(*audit, &shell.denied))
        }
    }
}

/// The connection tables.
pub(crate) fn connections(listing: &Listing) -> Answer {
    let listed = listing.connections().map_err(chain)?;
    let connections = listed.into_iter().map(|one| said::Connection {
        protocol: one.flow.protocol,
        local: IpAddr::from(one.flow.local),
        local_port: one.flow.local_port,
        remote: IpAddr::from(one.flow.remote),
        remote_port: one.flow.remote_port,
        age_s: Some(u64::from(one.age_s)),
        idle_s: u64::from(one.idle_s),
        generation: one.generation,
        opened_by: match one.table {
            Table::Own => said::OpenedBy::Host,
            Table::Admitted | Table::AdmittedTcp => said::OpenedBy::Peer,
        },
    });
    let mut report = said::ConnectionsReport { connections: connections.collect() };
    report
        .connections
        .sort_by_key(|one| (one.protocol, one.local, one.local_port, one.remote, one.remote_port));
    json(&report)
}

fn json(report: &impl Serialize) -> Answer {
    let json = serde_json::to_vec(report).map_err(chain)?;
    Ok(json)
}

fn status(report: &StatusReport, shell: &Shell) -> said::StatusReport {
    let (kernel, started_ms) = (&shell.kernel, shell.started_ms);
    let up = report.links.unfiltered.iter().filter(|device| device.up && !device.loopback);
    let up: Vec<Unfiltered> = up.cloned().collect();
    let live = report.generation.as_ref();
    let known = live.and_then(|live| live.generation.as_ref());
    let policies = known.map_or_else(Vec::new, |generation| {
        let mut n_rules: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for rule in generation.rules.iter() {
            *n_rules.entry((&*rule.policy, &*rule.path)).or_default() += 1;
        }
        let of = |name, path| n_rules.get(&(name, path)).copied().unwrap_or(0);
        let policies = generation.policies.iter().map(|policy| said::PolicyReport {
            name: policy.name.clone(),
            path: policy.path.clone(),
            line: policy.line,
            selects_this_node: policy.selects_this_node,
            n_rules: count(of(&policy.name, &policy.path)),
        });
        policies.collect()
    });
    said::StatusReport {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: clock::now_ms().saturating_sub(started_ms) / 1_000,
        kernel: said::KernelReport {
            release: Kernel::release(),
            lacks: kernel.lacks().iter().map(ToString::to_string).collect(),
        },
        node: said::NodeReport { name: report.node.clone(), labels: report.labels.clone() },
        ingress: mode(live, kernel, Direction::Ingress),
        egress: mode(live, kernel, Direction::Egress),
        forwarded: forwarded(live, kernel),
        never_enforced: report.never_enforced,
        audit: audit_state(report.audit),
        generation: live.and_then(|live| generation(live, kernel)),
        refused: report.refused.as_ref().map(|refused| said::RefusedSet {
            since_unix_s: clock::unix_s(refused.since_ms),
            complaints: refused.complaints.iter().map(complaint).collect(),
        }),
        warnings: report.warnings.iter().map(complaint).collect(),
        tables: tables(kernel, shell.n_ended),
        devices: devices(&report.links, kernel),
        policies,
        judged_by_another_version: kernel.judged_by_another_version().into_values().collect(),
        unfiltered: unfiltered(&up),
        ignored: report
            .ignored
            .iter()
            .map(|file| said::IgnoredFile { path: file.path.clone(), why: file.why.clone() })
            .collect(),
        problems: report.problems.clone(),
    }
}

/// How full the connection tables are; nothing where they cannot be read.
fn tables(kernel: &Kernel, ended: u64) -> said::TablesReport {
    let fill = kernel.fill().unwrap_or_else(|error| {
        tracing::warn!(why = chain(error), "the connection tables cannot be counted");
        Vec::new()
    });
    let in_places = kernel.count_in_places().unwrap_or_else(|error| {
        tracing::warn!(why = chain(error), "the places of connections cannot be counted");
        0
    });
    let of = |table: Table| {
        let found = fill.iter().find(|one| one.table == table);
        found.map_or_else(said::TableReport::default, |one| said::TableReport {
            entries: one.entries,
            capacity: one.capacity,
            evicted: one.evicted,
        })
    };
    said::TablesReport {
        own: of(Table::Own),
        own_tcp: said::TableReport { entries: in_places, capacity: PLACES.into(), evicted: 0 },
        admitted: of(Table::Admitted),
        admitted_tcp: of(Table::AdmittedTcp),
        ended,
    }
}

/// What the kernel does, from its own control word and image.
fn mode(live: Option<&GenerationReport>, kernel: &Kernel, direction: Direction) -> said::Mode {
    let Some(in_force) = kernel.in_force() else { return said::Mode::NoPolicy };
    let known = live.filter(|live| live.slot == in_force.slot);
    let is_judged = match known.and_then(|live| live.generation.as_ref()) {
        Some(generation) => match direction {
            Direction::Ingress => generation.ingress_in_force,
            Direction::Egress => generation.egress_in_force,
        },
        None => kernel.image(in_force.slot).is_ok_and(|words| {
            let words = words.as_slice();
            image::in_force(&words, image::subject(&words, 0, direction))
        }),
    };
    judged_as(is_judged, in_force.audit)
}

/// The same for what this host forwards.
fn forwarded(live: Option<&GenerationReport>, kernel: &Kernel) -> said::Mode {
    let Some(in_force) = kernel.in_force() else { return said::Mode::NoPolicy };
    let known = live.filter(|live| live.slot == in_force.slot);
    let is_judged = match known.and_then(|live| live.generation.as_ref()) {
        Some(generation) => generation.forward_in_force(),
        None => kernel
            .image(in_force.slot)
            .is_ok_and(|words| words.as_slice().word(image::AT_FORWARD) != image::HOST),
    };
    judged_as(is_judged, in_force.audit)
}

fn judged_as(is_judged: bool, audit: bool) -> said::Mode {
    match (is_judged, audit) {
        (false, _) => said::Mode::NotEnforced,
        (true, true) => said::Mode::Audit,
        (true, false) => said::Mode::Enforcing,
    }
}

fn generation(live: &GenerationReport, kernel: &Kernel) -> Option<said::GenerationReport> {
    let slot = kernel.slots().get(&live.slot)?;
    Some(said::GenerationReport {
        number: live.number,
        loaded_at_unix_s: clock::unix_s(live.since_ms),
        slot: live.slot,
        checksum: slot.checksum,
        n_rules: slot.rules,
        n_bytes: u64::from(slot.words) * 4,
    })
}

fn rules(
    live: Option<&GenerationReport>,
    kernel: &Kernel,
    tally: &Tally,
) -> Result<said::RulesReport, String> {
    let now_unix_s = clock::unix_now_s();
    let hits = match live {
        Some(live) => kernel.rule_counts(live.slot).map_err(chain)?,
        None => Vec::new(),
    };
    let known = live.and_then(|live| live.generation.as_ref());
    let rules = known.iter().flat_map(|generation| generation.rules.iter()).map(|rule| {
        let hits = usize::try_from(rule.id).ok().and_then(|id| hits.get(id)).copied();
        let Counts { packets, bytes, idle_s } =
            tally.with(rule.hash, hits.unwrap_or_default(), now_unix_s);
        said::RuleReport {
            id: rule.id,
            hash: format!("{:016x}", rule.hash),
            policy: rule.policy.to_string(),
            path: rule.path.to_string(),
            line: rule.line,
            direction: direction(rule.direction),
            kind: match rule.kind {
                RuleKind::Allow => said::RuleKind::Allow,
                RuleKind::Deny => said::RuleKind::Deny,
                RuleKind::Pass => said::RuleKind::Pass,
                RuleKind::BuiltIn | RuleKind::LocalHost => said::RuleKind::BuiltIn,
            },
            summary: rule.summary.to_string(),
            packets,
            bytes,
            last_hit_ago_s: idle_s,
        }
    });
    let rules = rules.collect();
    let reasons = kernel.reason_counts().map_err(chain)?;
    let of = |direction| said::DirectionCounters {
        reasons: (reasons.iter().filter(|(which, ..)| *which == direction))
            .map(|(_, reason, counts)| said::ReasonCounter {
                reason: reason.name().into(),
                // The numbers of reasons that deny start there.
                denies: *reason as u8 >= FIRST_DENIAL,
                packets: counts.packets,
                bytes: counts.bytes,
            })
            .collect(),
    };
    Ok(said::RulesReport {
        generation: live.map(|live| live.number),
        rules,
        ingress: of(Direction::Ingress),
        egress: of(Direction::Egress),
    })
}

fn devices(report: &LinksReport, kernel: &Kernel) -> Vec<said::LinkReport> {
    let attached: BTreeMap<u32, Attached> =
        kernel.attached().into_iter().map(|one| (one.ifindex, one)).collect();
    let device = |DeviceReport { device, addresses, problem, .. }: &DeviceReport| {
        let found = attached.get(&device.index);
        let ingress = found.and_then(|one| hook(one.ingress));
        let egress = found.and_then(|one| hook(one.egress));
        let missing = ingress.is_none() || egress.is_none();
        let problem = problem.clone().or_else(|| missing.then(|| "not attached yet".into()));
        said::LinkReport {
            device: device.name.clone(),
            ifindex: device.index,
            layer: match device.layer {
                Layer::Ethernet => said::Layer::Ethernet,
                Layer::Ip => said::Layer::Ip,
            },
            attachment: found.map(|one| match one.how {
                How::Tcx => said::Attachment::Tcx,
                How::Clsact => said::Attachment::Clsact,
            }),
            ingress,
            egress,
            addresses: addresses
                .iter()
                .map(|one| format!("{}/{}", one.address, one.prefix_length))
                .collect(),
            problem: problem.unwrap_or_default(),
        }
    };
    report.devices.iter().map(device).collect()
}

fn hook(hook: Hook) -> Option<said::HookReport> {
    let first = hook.position.is_none_or(|position| position == 0);
    hook.program.map(|program_id| said::HookReport { program_id, first })
}

fn unfiltered(devices: &[Unfiltered]) -> Vec<said::UnfilteredLink> {
    let device = |Unfiltered { name, why, .. }: &Unfiltered| said::UnfilteredLink {
        name: name.clone(),
        why: why.clone(),
    };
    devices.iter().map(device).collect()
}

fn audit_report(audit: AuditState, denied: &Denied) -> said::AuditReport {
    let now_ms = clock::now_ms();
    let ago_s = |moment_ms: u64| now_ms.saturating_sub(moment_ms) / 1_000;
    let flow = |(key, denial): (&crate::denied::Key, &crate::denied::Denial)| said::DeniedFlow {
        direction: direction(key.direction),
        peer: key.peer,
        forwarded_to: key.forwarded_to,
        protocol: key.protocol,
        port: key.port,
        reason: key.reason.name().into(),
        rule: denial.origin.as_ref().map(|Origin { id, policy, path, line }| said::RuleOrigin {
            id: *id,
            policy: policy.to_string(),
            path: path.to_string(),
            line: *line,
        }),
        dropped: key.dropped,
        packets: denial.packets,
        first_seen_ago_s: ago_s(denial.first_ms),
        last_seen_ago_s: ago_s(denial.last_ms),
    };
    said::AuditReport {
        audit: audit_state(audit),
        flows: denied.flows().into_iter().map(flow).collect(),
        n_forgotten: denied.n_forgotten(),
    }
}

fn audit_state(AuditState { on, source, since_ms }: AuditState) -> said::AuditState {
    said::AuditState {
        on,
        since_unix_s: clock::unix_s(since_ms),
        source: match source {
            AuditSource::Config => said::AuditSource::Config,
            AuditSource::Runtime => said::AuditSource::Runtime,
        },
    }
}

fn complaint(complaint: &Complaint) -> said::Complaint {
    said::Complaint {
        path: complaint.path.clone(),
        line: complaint.line,
        column: complaint.column,
        severity: match complaint.severity {
            Severity::Error => said::Severity::Error,
            Severity::Warning => said::Severity::Warning,
        },
        code: complaint.code.into(),
        what: complaint.what.clone(),
        instead: complaint.instead.clone(),
        excerpt: complaint.excerpt.clone(),
    }
}

fn direction(direction: Direction) -> said::Direction {
    match direction {
        Direction::Ingress => said::Direction::Ingress,
        Direction::Egress => said::Direction::Egress,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

const FIRST_DENIAL: u8 = 32;
