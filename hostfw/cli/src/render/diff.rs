//! `hostfw policy diff`: what is let in, shut out or handed to a proxy, in the
//! words of policies.

use std::collections::BTreeMap;

use hostfw_api::{DiffAnswer, DiffChange, DiffKind, DiffReport, Direction, TracedRule};

use crate::render::{
    figures::place,
    page::{Page, Paint},
    status::heading,
};

/// Items of a list that are shown before the rest is only counted.
const SHOWN: usize = 6;

/// Where enforcement begins or ends, then every difference by node and subject.
pub(crate) fn render(report: &DiffReport, page: &Page) -> String {
    if report.is_empty() {
        return "Nothing changes: every packet has the fate that it had.\n".to_owned();
    }
    let mut text = enforcement(report, page);
    if report.changes.is_empty() {
        text.push_str("Apart from that, every packet has the fate that it had.\n");
    }
    let mut last: Option<(&str, &str)> = None;
    for change in &report.changes {
        let whose = (change.node.as_str(), change.subject.as_str());
        if last != Some(whose) {
            let title = if change.node == change.subject {
                change.node.clone()
            } else {
                format!("{} on {}", change.subject, change.node)
            };
            // The empty line above a heading divides it from what it follows.
            let heading = heading(&title, page);
            let above = if text.is_empty() { heading.strip_prefix('\n') } else { None };
            text.push_str(above.unwrap_or(&heading));
            last = Some(whose);
        }
        text.push_str(&one(change, page));
    }
    text
}

/// A line for each direction that ends or begins to be in force, with all whom
/// that concerns.
fn enforcement(report: &DiffReport, page: &Page) -> String {
    let mut alike: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
    for one in &report.enforcement {
        let whose = alike.entry((one.in_force, way(one.direction))).or_default();
        whose.push(one.subject.clone());
    }
    let mut text = String::new();
    for ((in_force, way), whose) in alike {
        let whose = listed(&whose);
        let (words, paint) = if in_force {
            (format!("{way} comes into force for {whose}"), Paint::Notice)
        } else {
            (format!("{way} is no longer in force for {whose}: everything passes"), Paint::Bad)
        };
        let mut line = page.words("! ", 2, &words);
        line.replace_range(..1, &page.paint("!", paint));
        text.push_str(&line);
    }
    text
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

fn one(change: &DiffChange, page: &Page) -> String {
    let (mark, verb, paint) = match change.change {
        DiffKind::Opened => ("+", "opens", Paint::Good),
        DiffKind::Closed => ("-", "closes", Paint::Bad),
        DiffKind::Proxied => ("~", "proxy", Paint::Notice),
    };
    let side = match change.direction {
        Direction::Ingress => "ingress from",
        Direction::Egress => "egress to",
    };
    let line = format!("{side} {}: {}", listed(&change.peers), services(change));
    let mut text = page.words(&format!("{mark} {verb} "), 4, &line);
    let marked = page.paint(mark, paint);
    text.replace_range(..mark.len(), &marked);
    let before = rule(change.before.as_ref(), change.before_answer, change.direction);
    let after = rule(change.after.as_ref(), change.after_answer, change.direction);
    text.push_str(&page.words("    before: ", 6, &before));
    text.push_str(&page.words("    after:  ", 6, &after));
    text
}

/// What is concerned, or what is not where nearly everything is.
fn services(change: &DiffChange) -> String {
    match &change.services_but {
        Some(but) if but.is_empty() => "every service".to_owned(),
        Some(but) if but.len() <= SHOWN => format!("every service but {}", listed(but)),
        Some(_) | None => listed(&change.services),
    }
}

fn listed(items: &[String]) -> String {
    let shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn rule(rule: Option<&TracedRule>, answer: DiffAnswer, direction: Direction) -> String {
    match rule {
        Some(rule) if rule.path.is_empty() => rule.summary.clone(),
        Some(rule) => {
            format!("{} ({} {})", rule.summary, rule.policy, place(&rule.path, rule.line))
        }
        None => match answer {
            DiffAnswer::NotInForce => {
                format!("{} is not in force: everything passes", way(direction))
            }
            DiffAnswer::DefaultDeny => "default deny: no rule allows it".to_owned(),
            DiffAnswer::DefaultAllow => "default allow: no rule denies it".to_owned(),
            DiffAnswer::Allow | DiffAnswer::Proxy | DiffAnswer::Deny => {
                "a rule that is not known".to_owned()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hostfw_api::DiffEnforcement;

    use super::*;
    use crate::render::fixture::{differing, fits};

    #[test]
    fn subjects_have_an_empty_line_between_them_and_none_above() {
        let text = render(&differing(), &Page::PLAIN);
        expect![[r#"
            cp-1
            + opens ingress from 192.0.2.0/24: TCP 22
                before: default deny: no rule allows it
                after:  allow from 192.0.2.0/24: TCP 22 (host-all
                  policies.d/host-all.yaml:11)

            shop/web-0 on worker-1
            - closes egress to a, b, c, d, e, f and 1 more: UDP 53
                before: allow from 192.0.2.0/24: TCP 22 (host-all
                  policies.d/host-all.yaml:11)
                after:  default deny: no rule allows it
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn a_direction_that_is_no_longer_in_force_is_said_first() {
        let DiffReport { changes, .. } = differing();
        let ended = |subject: &str| DiffEnforcement {
            node: "cp-1".to_owned(),
            subject: subject.to_owned(),
            direction: Direction::Ingress,
            in_force: false,
        };
        let begun =
            DiffEnforcement { direction: Direction::Egress, in_force: true, ..ended("cp-1") };
        let opened = DiffChange {
            services_but: Some(vec!["TCP 22".to_owned()]),
            before_answer: DiffAnswer::DefaultDeny,
            after: None,
            after_answer: DiffAnswer::NotInForce,
            ..changes.into_iter().next().expect("a change")
        };
        let enforcement = vec![ended("cp-1"), begun, ended("shop/web-0")];
        let report = DiffReport { enforcement, changes: vec![opened] };
        let text = render(&report, &Page::PLAIN);
        expect![[r#"
            ! ingress is no longer in force for cp-1, shop/web-0: everything passes
            ! egress comes into force for cp-1

            cp-1
            + opens ingress from 192.0.2.0/24: every service but TCP 22
                before: default deny: no rule allows it
                after:  ingress is not in force: everything passes
        "#]]
        .assert_eq(&text);
        fits(&text);
        let text = render(&DiffReport { changes: Vec::new(), ..report }, &Page::PLAIN);
        assert!(
            text.ends_with("Apart from that, every packet has the fate that it had.\n"),
            "{text}"
        );
    }

    #[test]
    fn no_difference_is_said_in_a_sentence() {
        let text =
            render(&DiffReport { enforcement: Vec::new(), changes: Vec::new() }, &Page::PLAIN);
        assert_eq!(text, "Nothing changes: every packet has the fate that it had.\n");
    }
}
