//! Which files of a directory are policies, by their names alone: the daemon
//! and the command must agree on it. It knows no file system.

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// A document to read. JSON is YAML, so one reader serves both.
    Document,
    /// Hidden, or left for a moment by an editor or a copying tool: not worth a
    /// word.
    Temporary,
    /// Something else, which its author may have meant to be read.
    Other,
}

impl FileName {
    /// True for a document that holds test cases and no policies.
    pub fn is_cases(path: &str) -> bool {
        [".test.yaml", ".test.yml", ".test.json"].iter().any(|ending| path.ends_with(ending))
    }

    /// True for a document that holds guardrails and no policies.
    pub fn is_guardrails(path: &str) -> bool {
        [".guardrails.yaml", ".guardrails.yml", ".guardrails.json"]
            .iter()
            .any(|ending| path.ends_with(ending))
    }

    /// Sorts a name, without its directory.
    pub fn of(name: &str) -> Self {
        let ends = |suffixes: [&str; 3]| suffixes.iter().any(|suffix| name.ends_with(suffix));
        // 4913 is the file with which vim tries whether it can write.
        let is_temporary = name.starts_with('.')
            || name.ends_with('~')
            || ends([".swp", ".swx", ".tmp"])
            || name == "4913"
            || (name.starts_with('#') && name.ends_with('#'));
        if is_temporary {
            Self::Temporary
        } else if ends([".yaml", ".yml", ".json"]) {
            Self::Document
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_editors_are_not_worth_a_word() {
        for name in [".ssh.yaml.swp", ".hidden.yaml", "ssh.yaml~", "4913", "#ssh.yaml#", "a.tmp"] {
            assert_eq!(FileName::of(name), FileName::Temporary, "{name}");
        }
    }

    #[test]
    fn only_yaml_and_json_are_read() {
        for name in ["a.yaml", "a.yml", "a.json", "4913.yaml"] {
            assert_eq!(FileName::of(name), FileName::Document, "{name}");
        }
        for name in ["a.yaml.bak", "README", "a.YAML"] {
            assert_eq!(FileName::of(name), FileName::Other, "{name}");
        }
    }
}
