//! `hostfw rules`: each rule in the words of its policy, what it did, and
//! where it stands.

use hostfw_api::{Direction, DirectionCounters, RuleKind, RuleReport, RulesReport};

use crate::render::{
    figures::{bytes, count, short_span},
    page::{Page, Paint},
    status::heading,
    table::{Cell, Table, left, right, wrapping},
};

/// The whole report. With `unused` the rules are known to be without a hit.
pub(crate) fn render(report: &RulesReport, unused: bool, page: &Page) -> String {
    let Some(generation) = report.generation else {
        return "No generation is loaded: there are no rules.\n".to_owned();
    };
    let n_rules = u64::try_from(report.rules.len()).unwrap_or(u64::MAX);
    let which = if unused { " without a hit" } else { "" };
    let mut text = format!("Generation {generation}: {} rule", count(n_rules));
    text.push_str(if n_rules == 1 { "" } else { "s" });
    text.push_str(which);
    text.push_str(".\n");
    let directions = [
        (Direction::Ingress, "Ingress", &report.ingress),
        (Direction::Egress, "Egress", &report.egress),
    ];
    for (direction, name, counters) in directions {
        let rules = report.rules.iter().filter(|rule| rule.direction == direction);
        let table = rules_table(rules).render(page);
        let reasons = if unused { String::new() } else { reasons(counters, page) };
        if table.is_empty() && reasons.is_empty() {
            continue;
        }
        text.push_str(&heading(name, page));
        text.push_str(&table);
        if !table.is_empty() && !reasons.is_empty() {
            text.push('\n');
        }
        text.push_str(&reasons);
    }
    text
}

/// The rules below the policies and files that they stand in.
fn rules_table<'r>(rules: impl Iterator<Item = &'r RuleReport>) -> Table {
    let columns =
        [right("LINE"), right("PACKETS"), right("BYTES"), right("LAST"), wrapping("RULE")];
    let mut table = Table::new(2, columns);
    let mut origin = String::new();
    for rule in rules {
        let next = format!("{} {}", rule.policy, rule.path);
        if next != origin {
            table.line(2, Cell::painted(next.trim_end(), Paint::Heading));
            origin = next;
        }
        let unused = rule.packets == 0;
        let paint = match rule.kind {
            RuleKind::Allow | RuleKind::Pass => Paint::Plain,
            RuleKind::Deny => Paint::Bad,
            RuleKind::BuiltIn => Paint::Faint,
        };
        let line = if rule.line == 0 { String::new() } else { rule.line.to_string() };
        table.row([
            line.into(),
            Cell::painted(count(rule.packets), if unused { Paint::Faint } else { Paint::Plain }),
            if unused { "-".to_owned() } else { bytes(rule.bytes) }.into(),
            rule.last_hit_ago_s.map_or_else(|| "-".to_owned(), short_span).into(),
            Cell::painted(rule.summary.clone(), paint),
        ]);
    }
    table
}

fn reasons(counters: &DirectionCounters, page: &Page) -> String {
    let columns = [right("PACKETS"), right("BYTES"), left("ALL PACKETS BY REASON")];
    let mut table = Table::new(2, columns);
    for counter in &counters.reasons {
        let paint = if counter.denies { Paint::Bad } else { Paint::Plain };
        table.row([
            count(counter.packets).into(),
            bytes(counter.bytes).into(),
            Cell::painted(counter.reason.clone(), paint),
        ]);
    }
    table.render(page)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{fits, rules};

    #[test]
    fn rules_show_what_they_did_and_where_they_stand() {
        let text = render(&rules(), false, &Page::PLAIN);
        expect![[r#"
            Generation 12: 4 rules.

            Ingress
              LINE  PACKETS    BYTES  LAST  RULE
              host-all /etc/hostfw/policies.d/host-all.yaml
                11   18,201  12.3 MB    2s  allow from 10.1.101.110/32: TCP 22
                18        0        -     -  allow from 10.1.101.0/24 except 10.1.101.7/32,
                                            10.1.101.8/32: TCP 8000-9000
              built-in
                          0        -     -  own VXLAN tunnel vxlan0 (UDP 8472) with known
                                            nodes

              PACKETS     BYTES  ALL PACKETS BY REASON
               18,201    1.8 MB  rule
                5,555  555.5 kB  reply
                  120   12.0 kB  default-deny

            Egress
              LINE  PACKETS   BYTES  LAST  RULE
              host-all /etc/hostfw/policies.d/host-all.yaml
                11   123.4M  9.8 GB    2h  deny to 169.254.169.254/32: everything

              PACKETS   BYTES  ALL PACKETS BY REASON
                   44  4.4 kB  not-enforced
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn unused_rules_come_without_the_reasons() {
        let mut report = rules();
        report.rules.retain(|rule| rule.packets == 0);
        let text = render(&report, true, &Page::PLAIN);
        expect![[r#"
            Generation 12: 2 rules without a hit.

            Ingress
              LINE  PACKETS  BYTES  LAST  RULE
              host-all /etc/hostfw/policies.d/host-all.yaml
                18        0      -     -  allow from 10.1.101.0/24 except 10.1.101.7/32,
                                          10.1.101.8/32: TCP 8000-9000
              built-in
                          0      -     -  own VXLAN tunnel vxlan0 (UDP 8472) with known
                                          nodes
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_node_without_a_generation_has_no_rules() {
        let text = render(&RulesReport { generation: None, ..rules() }, false, &Page::PLAIN);
        assert_eq!(text, "No generation is loaded: there are no rules.\n");
    }
}
