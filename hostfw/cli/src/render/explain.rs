//! `hostfw policy explain`: a heading for every policy, its sentences below it,
//! and its rules behind their lines.

use hostfw_api::ExplainReport;

use crate::render::{
    figures::place,
    page::{Page, Paint},
};

/// Every policy, with an empty line between them.
pub(crate) fn render(report: &ExplainReport, page: &Page) -> String {
    let mut text = String::new();
    for policy in &report.policies {
        if !text.is_empty() {
            text.push('\n');
        }
        let place = place(&policy.path, policy.line);
        let title = format!("{} `{}` ({place})", policy.kind, policy.name);
        text.push_str(&page.paint(&title, Paint::Heading));
        text.push('\n');
        for part in &policy.parts {
            for sentence in &part.sentences {
                text.push_str(&page.words("  ", 2, sentence));
            }
            for rule in &part.rules {
                text.push_str(&page.words(&format!("  {:>5}: ", rule.line), 9, &rule.sentence));
            }
        }
    }
    if text.is_empty() {
        text.push_str("There are no policies.\n");
    }
    text
}
