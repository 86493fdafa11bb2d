//! `hostfw policy trace`: the verdict, the rule that gave it, and the
//! questions that led there.

use std::net::IpAddr;

use hostfw_api::{ConnectionReport, Direction, TraceAction, TraceReport, TracedRule};

use crate::render::{
    figures::{place, protocol_and_port},
    page::{Page, Paint},
    status::heading,
    table::{Table, left, wrapping},
};

/// The whole report.
pub(crate) fn render(report: &TraceReport, page: &Page) -> String {
    let (word, paint) = match report.action {
        TraceAction::Pass => ("PASS", Paint::Good),
        TraceAction::Drop => ("DROP", Paint::Bad),
    };
    let node = |address: &IpAddr| format!("{} ({address})", report.node);
    let (from, to) = match report.direction {
        Direction::Ingress => (report.peer.to_string(), node(&report.local)),
        Direction::Egress => (node(&report.local), report.peer.to_string()),
    };
    let what = protocol_and_port(report.protocol, report.port.unwrap_or(0));
    let mut text = format!("{}\n", page.paint(&format!("{word}: {}", report.reason), paint));
    text.push_str(&page.words("  ", 4, &format!("{what} from {from} to {to}")));
    if let Some(rule) = &report.rule {
        text.push_str(&heading("Decided by", page));
        text.push_str(&rule_lines(rule, page));
    }
    if !report.also_matching.is_empty() {
        text.push_str(&heading("Also matching", page));
        for rule in &report.also_matching {
            text.push_str(&rule_lines(rule, page));
        }
    }
    text.push_str(&heading("How", page));
    let mut table = Table::new(2, [left(""), wrapping("")]);
    for step in &report.steps {
        table.row([step.question.clone().into(), step.answer.clone().into()]);
    }
    text.push_str(&table.render(page));
    text
}

/// Both ends of a connection.
pub(crate) fn connection(report: &ConnectionReport, page: &Page) -> String {
    let (word, paint) = if report.passes { ("PASS", Paint::Good) } else { ("DROP", Paint::Bad) };
    let mut text = format!("{}\n", page.paint(word, paint));
    let ConnectionReport { from, to, what, .. } = report;
    text.push_str(&page.words("  ", 4, &format!("{what} from {from} to {to}")));
    for end in &report.ends {
        let way = match end.direction {
            Direction::Ingress => "Ingress",
            Direction::Egress => "Egress",
        };
        text.push_str(&heading(&format!("{way} of {}: {}", end.subject, end.answer), page));
        if let Some(rule) = &end.rule {
            text.push_str(&rule_lines(rule, page));
        }
        for shown in &end.l7 {
            text.push_str(&page.words("  through a proxy: ", 4, shown));
        }
        if !end.also_matching.is_empty() {
            text.push_str("  Also matching:\n");
            for rule in &end.also_matching {
                text.push_str(&rule_lines(rule, page));
            }
        }
    }
    text
}

pub(crate) fn rule_lines(rule: &TracedRule, page: &Page) -> String {
    let mut text = page.words("  ", 4, &rule.summary);
    if !rule.path.is_empty() {
        let origin = format!("{} {}", rule.policy, place(&rule.path, rule.line));
        text.push_str(&page.words("    ", 4, &origin));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{fits, traced};

    #[test]
    fn a_trace_names_rule_file_and_line() {
        let text = render(&traced(), &Page::PLAIN);
        expect![[r#"
            PASS: rule
              tcp/22 from 192.0.2.7 to cp-1 (192.0.2.1)

            Decided by
              allow from 192.0.2.0/24: TCP 22
                host-all policies.d/host-all.yaml:11

            Also matching
              allow from 192.0.2.0/24: TCP 22
                host-all policies.d/host-all.yaml:40

            How
              direction   ingress is in force
              peer class  4 of 9
              port class  2 of 5
              policy      verdict 3: allow
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_packet_that_no_rule_allows() {
        let report = TraceReport {
            action: TraceAction::Drop,
            reason: "default-deny".to_owned(),
            direction: Direction::Egress,
            rule: None,
            also_matching: Vec::new(),
            ..traced()
        };
        let text = render(&report, &Page::PLAIN);
        expect![[r#"
            DROP: default-deny
              tcp/22 from cp-1 (192.0.2.1) to 192.0.2.7

            How
              direction   ingress is in force
              peer class  4 of 9
              port class  2 of 5
              policy      verdict 3: allow
        "#]]
        .assert_eq(&text);
        fits(&text);
    }
}
