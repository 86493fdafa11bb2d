//! `hostfw policy diff`: what is let in, shut out or handed to a proxy, in the
//! words of policies.

use hostfw_api::{DiffChange, DiffKind, DiffReport, Direction, TracedRule};

use crate::render::{
    figures::place,
    page::{Page, Paint},
    status::heading,
};

/// Items of a list that are shown before the rest is only counted.
const SHOWN: usize = 6;

/// Every difference, by node and subject.
pub(crate) fn render(report: &DiffReport, page: &Page) -> String {
    if report.changes.is_empty() {
        return "Nothing changes: every packet has the fate that it had.\n".to_owned();
    }
    let mut text = String::new();
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
    let line = format!("{side} {}: {}", listed(&change.peers), listed(&change.services));
    let mut text = page.words(&format!("{mark} {verb} "), 4, &line);
    let marked = page.paint(mark, paint);
    text.replace_range(..mark.len(), &marked);
    text.push_str(&page.words("    before: ", 6, &rule(change.before.as_ref())));
    text.push_str(&page.words("    after:  ", 6, &rule(change.after.as_ref())));
    text
}

fn listed(items: &[String]) -> String {
    let shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn rule(rule: Option<&TracedRule>) -> String {
    match rule {
        Some(rule) if rule.path.is_empty() => rule.summary.clone(),
        Some(rule) => {
            format!("{} ({} {})", rule.summary, rule.policy, place(&rule.path, rule.line))
        }
        None => "no rule".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{differing, fits};

    #[test]
    fn subjects_have_an_empty_line_between_them_and_none_above() {
        let text = render(&differing(), &Page::PLAIN);
        expect![[r#"
            cp-1
            + opens ingress from 192.0.2.0/24: TCP 22
                before: no rule
                after:  allow from 192.0.2.0/24: TCP 22 (host-all
                  policies.d/host-all.yaml:11)

            shop/web-0 on worker-1
            - closes egress to a, b, c, d, e, f and 1 more: UDP 53
                before: allow from 192.0.2.0/24: TCP 22 (host-all
                  policies.d/host-all.yaml:11)
                after:  no rule
        "#]]
        .assert_eq(&text);
        fits(&text);
    }

    #[test]
    fn no_difference_is_said_in_a_sentence() {
        let text = render(&DiffReport { changes: Vec::new() }, &Page::PLAIN);
        assert_eq!(text, "Nothing changes: every packet has the fate that it had.\n");
    }
}
