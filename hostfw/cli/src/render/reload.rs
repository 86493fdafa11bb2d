//! `hostfw reload`: what is in force now, or why it is not what the files say.

use hostfw_api::StatusReport;

use crate::render::{complaint, figures::counted, page::Page};

/// One line, and every complaint below it where the files are refused.
pub(crate) fn render(report: &StatusReport, page: &Page) -> String {
    let in_force = match &report.generation {
        None => "nothing is in force".to_owned(),
        Some(generation) => {
            let n_rules = counted(generation.n_rules.into(), "rule");
            format!("generation {} is in force, with {n_rules}", generation.number)
        }
    };
    match &report.refused {
        None => page.words("", 0, &format!("Every file was read: {in_force}.")),
        Some(refused) => {
            let verdict = format!("The files are refused; as before, {in_force}.");
            page.words("", 0, &verdict) + "\n" + &complaint::render(&refused.complaints, page)
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::render::fixture::{refused_status, status};

    #[test]
    fn what_is_in_force_is_said_in_one_line() {
        expect![[r#"
            Every file was read: generation 12 is in force, with 14 rules.
        "#]]
        .assert_eq(&render(&status(), &Page::PLAIN));
    }

    #[test]
    fn refused_files_are_shown_with_the_place_and_the_remedy() {
        let text = render(&refused_status(), &Page::PLAIN);
        let start =
            "The files are refused; as before, generation 12 is in force, with 14 rules.\n\n";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("ssh.yaml:8:9: error[port-number]"), "{text}");
        assert!(text.contains("= instead: "), "{text}");
    }
}
