//! What is wrong with a node, judged from its status alone. It decides the
//! first lines of `hostfw status` and its exit code, and nothing else.

use hostfw_api::{Mode, Severity, StatusReport};

/// Every fault, the gravest first; none for a node that is as it should be.
pub(crate) fn faults(report: &StatusReport) -> Vec<String> {
    let mut faults = Vec::new();
    let others = &report.judged_by_another_version;
    if !others.is_empty() {
        faults.push(format!(
            "programs of another version of hostfw still judge {}, by what was in force when it \
             was replaced; they go when this version has a generation in force there",
            others.join(", ")
        ));
    } else if report.generation.is_none() {
        faults.push("no generation is loaded: every packet passes".to_owned());
    }
    if report.devices.is_empty() && others.is_empty() {
        faults.push("no device is filtered: every packet passes".to_owned());
    }
    for link in &report.devices {
        let so = match (&link.ingress, &link.egress) {
            (Some(_), Some(_)) => continue,
            _ if others.contains(&link.device) => " by this version",
            (None, Some(_)) => ", incoming packets pass",
            (Some(_), None) => ", outgoing packets pass",
            (None, None) => ", every packet passes",
        };
        let why = if link.problem.is_empty() { "no program attached" } else { &link.problem };
        faults.push(format!("{} is not filtered{so}: {why}", link.device));
    }
    if let Some(refused) = &report.refused {
        let n_errors = errors(&refused.complaints);
        faults.push(format!(
            "the files are refused ({n_errors} {}); {}",
            if n_errors == 1 { "error" } else { "errors" },
            match report.generation {
                Some(_) => "the last good generation stays in force",
                None if others.is_empty() => "nothing is in force until they are mended",
                None => "nothing of this version is in force until they are mended",
            }
        ));
    }
    if !report.policies.is_empty() && !report.policies.iter().any(|policy| policy.selects_this_node)
    {
        faults.push(format!("no policy selects {}: {}", report.node.name, unselected(report)));
    }
    faults.extend(report.problems.iter().cloned());
    faults
}

/// What becomes of packets where no policy is about the node: where the
/// configuration enforces always, the contrary of what becomes of them elsewhere.
fn unselected(report: &StatusReport) -> &'static str {
    let modes = [report.ingress, report.egress];
    if modes.contains(&Mode::Enforcing) {
        "everything that no built-in rule allows is dropped"
    } else if modes.contains(&Mode::Audit) {
        "everything passes, in audit mode alone"
    } else {
        "every packet passes"
    }
}

fn errors(complaints: &[hostfw_api::Complaint]) -> usize {
    complaints.iter().filter(|complaint| complaint.severity == Severity::Error).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture::{refused_status, status};

    #[test]
    fn a_node_as_it_should_be_has_no_fault() {
        assert_eq!(faults(&status()), Vec::<String>::new());
    }

    #[test]
    fn refused_files_and_a_missing_hook_are_faults() {
        assert_eq!(
            faults(&refused_status()),
            [
                "eth1 is not filtered, every packet passes: no such device",
                "the files are refused (1 error); the last good generation stays in force",
                "the state directory /var/lib/hostfw is read-only",
            ]
        );
    }

    #[test]
    fn a_node_without_devices_or_generation_is_open() {
        let open = StatusReport { generation: None, devices: Vec::new(), ..status() };
        assert_eq!(
            faults(&open),
            [
                "no generation is loaded: every packet passes",
                "no device is filtered: every packet passes",
            ]
        );
    }

    #[test]
    fn refused_files_without_a_generation_leave_the_node_open_and_say_so() {
        let open = StatusReport { generation: None, devices: Vec::new(), ..refused_status() };
        let said = faults(&open);
        let about = said.iter().find(|fault| fault.starts_with("the files")).expect("a fault");
        assert_eq!(
            about,
            "the files are refused (1 error); nothing is in force until they are mended"
        );
    }

    #[test]
    fn what_another_version_judges_is_not_called_open() {
        let mut report = StatusReport {
            generation: None,
            judged_by_another_version: vec!["eth0".to_owned(), "eth1".to_owned()],
            problems: Vec::new(),
            ..refused_status()
        };
        let judged = "programs of another version of hostfw still judge eth0, eth1, by what was in \
                      force when it was replaced; they go when this version has a generation in \
                      force there";
        let refused = "the files are refused (1 error); nothing of this version is in force until \
                       they are mended";
        let unattached = "eth1 is not filtered by this version: no such device";
        assert_eq!(faults(&report), [judged, unattached, refused]);
        // Without programs of its own it is no more open than with them.
        report.devices.clear();
        assert_eq!(faults(&report), [judged, refused]);
    }

    #[test]
    fn policies_that_all_select_other_nodes_are_a_fault() {
        let mut report = status();
        for policy in &mut report.policies {
            policy.selects_this_node = false;
        }
        report.ingress = Mode::NotEnforced;
        assert_eq!(faults(&report), ["no policy selects cp-1: every packet passes"]);
        // `enforcement: always`
        (report.ingress, report.egress) = (Mode::Enforcing, Mode::Enforcing);
        assert_eq!(
            faults(&report),
            ["no policy selects cp-1: everything that no built-in rule allows is dropped"]
        );
        (report.ingress, report.egress) = (Mode::Audit, Mode::Audit);
        assert_eq!(
            faults(&report),
            ["no policy selects cp-1: everything passes, in audit mode alone"]
        );
    }
}
