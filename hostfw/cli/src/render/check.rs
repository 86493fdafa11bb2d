//! `hostfw policy check`: complaints as a compiler prints them, then what the
//! policies come to.

use hostfw_api::{CheckReport, CheckedCases, CheckedNode, CheckedPolicy, Severity};

use crate::render::{
    cases::not_run_lines,
    complaint,
    figures::{bytes, count, counted, place},
    page::{Page, Paint},
    table::{Table, left, wrapping},
};

/// The whole report.
pub(crate) fn render(report: &CheckReport, page: &Page) -> String {
    let mut text = complaint::render(&report.complaints, page);
    if !text.is_empty() {
        text.push('\n');
    }
    for file in &report.ignored {
        text.push_str(&page.words("", 2, &format!("{} is not read: {}", file.path, file.why)));
    }
    text.push_str(&verdict(report, page));
    text.push_str(&cases(&report.cases, page));
    match &report.node {
        Some(node) => text.push_str(&on_node(node, &report.policies, page)),
        None if report.n_nodes == 0 && report.n_pods == 0 => text.push_str(NO_NODES),
        None => text.push_str(&selections(&report.policies, page)),
    }
    text
}

fn verdict(report: &CheckReport, page: &Page) -> String {
    let of = |severity| {
        let n = report.complaints.iter().filter(|complaint| complaint.severity == severity).count();
        u64::try_from(n).unwrap_or(u64::MAX)
    };
    let (n_errors, n_warnings) = (of(Severity::Error), of(Severity::Warning));
    let mut findings = Vec::new();
    if n_errors > 0 {
        findings.push(counted(n_errors, "error"));
    }
    if n_warnings > 0 {
        findings.push(counted(n_warnings, "warning"));
    }
    let n_policies = u64::try_from(report.policies.len()).unwrap_or(u64::MAX);
    findings.push(counted(n_policies, "policy"));
    let (word, paint) =
        if report.accepted { ("Accepted", Paint::Good) } else { ("Refused", Paint::Bad) };
    format!("{}: {}.\n", page.paint(word, paint), findings.join(", "))
}

/// What became of the cases, where there are any; those that failed stand
/// among the complaints.
fn cases(cases: &CheckedCases, page: &Page) -> String {
    let CheckedCases { passed, failed, not_run } = cases;
    let n_not_run = u64::try_from(not_run.len()).unwrap_or(u64::MAX);
    let sums: Vec<String> = [(*passed, "passed"), (*failed, "failed"), (n_not_run, "not run")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{} {word}", count(number)))
        .collect();
    if sums.is_empty() {
        return String::new();
    }
    let mut text = format!("Cases: {}.\n", sums.join(", "));
    text.push_str(&not_run_lines(not_run, page));
    text
}

fn on_node(node: &CheckedNode, policies: &[CheckedPolicy], page: &Page) -> String {
    let mut table = Table::new(0, [left(""), wrapping("")]);
    table.row(["Node".into(), node.name.clone().into()]);
    for (name, in_force) in [("Ingress", node.ingress_in_force), ("Egress", node.egress_in_force)] {
        let words = match in_force {
            true => "in force: what no rule allows is dropped",
            false if node.never_enforced => "not in force: `enforcement: never`, everything passes",
            false => "not in force: no rule selects this node, everything passes",
        };
        table.row([name.into(), words.into()]);
    }
    if node.forward_in_force {
        table.row(["Forwarded".into(), "in force: what no rule allows is dropped".into()]);
    }
    let n_rules = counted(node.n_rules.into(), "rule");
    table.row(["Image".into(), format!("{n_rules}, {}", bytes(node.n_bytes)).into()]);
    let mut text = table.render(page);
    let name = |policy: &CheckedPolicy| policy.name.clone();
    let with_pods = |policy: &CheckedPolicy| format!("{} ({})", policy.name, pods(policy));
    let here = |policy: &&CheckedPolicy| !policy.selects.is_empty();
    let has_pods = |policy: &&CheckedPolicy| policy.n_pods > 0;
    let of_node: Vec<String> = policies.iter().filter(here).map(name).collect();
    let of_pods: Vec<String> = policies.iter().filter(has_pods).map(with_pods).collect();
    let elsewhere = policies.iter().filter(|policy| !here(policy) && !has_pods(policy));
    for (label, names) in [
        ("Selected by", of_node),
        ("Its pods are selected by", of_pods),
        ("Not selected by", elsewhere.map(name).collect()),
    ] {
        if !names.is_empty() {
            text.push_str(&page.words("", 2, &format!("{label}: {}", names.join(", "))));
        }
    }
    text
}

/// The pods that a policy selects: by name where they are few.
fn pods(policy: &CheckedPolicy) -> String {
    if policy.pods.is_empty() {
        return counted(policy.n_pods.into(), "pod");
    }
    policy.pods.join(", ")
}

const NO_NODES: &str = "No nodes are known: --world DIR shows whom policies select.\n";

fn selections(policies: &[CheckedPolicy], page: &Page) -> String {
    let mut text = String::new();
    for policy in policies {
        let first = format!("{} ({}) selects ", policy.name, place(&policy.path, policy.line));
        let nodes = policy.selects.join(", ");
        let selected = match (policy.selects.is_empty(), policy.n_pods) {
            (true, 0) => "nothing in the known world".to_owned(),
            (false, 0) => nodes,
            (true, _) => pods(policy),
            (false, _) => format!("{nodes}, {}", pods(policy)),
        };
        text.push_str(&page.words("", 2, &format!("{first}{selected}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hostfw_api::CaseNotRun;

    use super::*;
    use crate::render::fixture::{checked, checked_with_pods, complaint, fits, ignored};

    #[test]
    fn accepted_policies_show_what_they_come_to_on_the_node() {
        let text = render(&checked(), &Page::PLAIN);
        expect![[r#"
            Accepted: 3 policies.
            Node     cp-1
            Ingress  in force: what no rule allows is dropped
            Egress   not in force: no rule selects this node, everything passes
            Image    14 rules, 268.4 kB
            Selected by: host-all, host-control-plane
            Not selected by: host-gpu
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn without_a_node_each_policy_shows_the_nodes_it_selects() {
        let text = render(&CheckReport { node: None, ..checked() }, &Page::PLAIN);
        expect![[r#"
            Accepted: 3 policies.
            host-all (policies.d/host-all.yaml:1) selects cp-1, infra-1, worker-1
            host-control-plane (policies.d/host-control-plane.yaml:1) selects cp-1
            host-gpu (policies.d/host-gpu.yaml:1) selects nothing in the known world
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn pods_are_named_where_they_are_few_and_counted_where_they_are_many() {
        let report = checked_with_pods();
        let text = render(&report, &Page::PLAIN);
        expect![[r#"
            Accepted: 6 policies.
            Node     cp-1
            Ingress  in force: what no rule allows is dropped
            Egress   not in force: no rule selects this node, everything passes
            Image    14 rules, 268.4 kB
            Selected by: host-all, host-control-plane, both
            Its pods are selected by: shop/web (shop/web-0, shop/web-1), shop/everybody
              (1,234 pods), both (shop/db-0)
            Not selected by: host-gpu
        "#]]
        .assert_eq(&text);
        fits(&text);
        let text = render(&CheckReport { node: None, ..report }, &Page::PLAIN);
        expect![[r#"
            Accepted: 6 policies.
            host-all (policies.d/host-all.yaml:1) selects cp-1, infra-1, worker-1
            host-control-plane (policies.d/host-control-plane.yaml:1) selects cp-1
            host-gpu (policies.d/host-gpu.yaml:1) selects nothing in the known world
            shop/web (policies.d/shop.yaml:1) selects shop/web-0, shop/web-1
            shop/everybody (policies.d/shop.yaml:1) selects 1,234 pods
            both (policies.d/shop.yaml:1) selects cp-1, shop/db-0
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn cases_that_were_not_run_are_named_with_what_is_not_known() {
        let case = |line| CaseNotRun {
            name: "operators reach SSH".to_owned(),
            path: "policies.d/host.test.yaml".to_owned(),
            line,
            why: "`host` is the node itself, and no node is named".to_owned(),
        };
        let not_run = (2..9).map(case).collect();
        let cases = CheckedCases { passed: 3, failed: 0, not_run };
        let text = render(&CheckReport { node: None, cases, ..checked() }, &Page::PLAIN);
        expect![[r#"
            Accepted: 3 policies.
            Cases: 3 passed, 7 not run.
              not run: operators reach SSH (policies.d/host.test.yaml:2): `host` is the node
                itself, and no node is named
              not run: operators reach SSH (policies.d/host.test.yaml:3): `host` is the node
                itself, and no node is named
              not run: operators reach SSH (policies.d/host.test.yaml:4): `host` is the node
                itself, and no node is named
              not run: operators reach SSH (policies.d/host.test.yaml:5): `host` is the node
                itself, and no node is named
              not run: operators reach SSH (policies.d/host.test.yaml:6): `host` is the node
                itself, and no node is named
              not run: operators reach SSH (policies.d/host.test.yaml:7): `host` is the node
                itself, and no node is named
              and 1 more
              --node NAME says which node `host` is, --world DIR who else there is.
            host-all (policies.d/host-all.yaml:1) selects cp-1, infra-1, worker-1
            host-control-plane (policies.d/host-control-plane.yaml:1) selects cp-1
            host-gpu (policies.d/host-gpu.yaml:1) selects nothing in the known world
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn without_any_node_it_says_how_to_name_some() {
        let text = render(&CheckReport { node: None, n_nodes: 0, ..checked() }, &Page::PLAIN);
        expect![[r#"
            Accepted: 3 policies.
            No nodes are known: --world DIR shows whom policies select.
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn refused_policies_show_every_complaint() {
        let refused = CheckReport {
            accepted: false,
            complaints: vec![complaint(), complaint()],
            ignored: ignored(),
            node: None,
            ..checked()
        };
        let text = render(&refused, &Page::PLAIN);
        expect![[r#"
            /etc/hostfw/policies.d/ssh.yaml:8:9: error[port-number]: a port must be a
                string, and this one is written as a number
              8 |       - port: 22
                |         ^
              = instead: write `port: "22"`

            /etc/hostfw/policies.d/ssh.yaml:8:9: error[port-number]: a port must be a
                string, and this one is written as a number
              8 |       - port: 22
                |         ^
              = instead: write `port: "22"`

            /etc/hostfw/policies.d/README is not read: not .yaml, .yml or .json
            /etc/hostfw/policies.d/old is not read: a directory
            Refused: 2 errors, 3 policies.
            host-all (policies.d/host-all.yaml:1) selects cp-1, infra-1, worker-1
            host-control-plane (policies.d/host-control-plane.yaml:1) selects cp-1
            host-gpu (policies.d/host-gpu.yaml:1) selects nothing in the known world
        "#]]
        .assert_eq(&text);
        fits(&text);
    }
}
