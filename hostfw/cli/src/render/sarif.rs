//! `hostfw policy check -o sarif`: complaints as a SARIF 2.1.0 log (OASIS), for
//! services that show findings beside the code.

use std::{collections::BTreeSet, fmt::Write as _};

use hostfw_api::{Complaint, Severity};
use serde_json::{Value, json};

/// Where the schema of the format is published.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The log of one run.
pub(crate) fn log(complaints: &[Complaint]) -> Value {
    let codes: BTreeSet<&str> = complaints.iter().map(|one| one.code.as_str()).collect();
    let rules: Vec<Value> = codes.iter().map(|code| rule(code)).collect();
    let results: Vec<Value> = complaints.iter().map(result).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "hostfw",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            // A column counts characters, not UTF-16 units.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: &str) -> Value {
    let mut rule = json!({"id": code});
    if hostfw_policy::WARNINGS.contains(&code) {
        rule["help"] = json!({"text": format!("docs/warnings.md, section {code}")});
    }
    rule
}

fn result(complaint: &Complaint) -> Value {
    let Complaint { path, line, column, severity, code, what, instead, .. } = complaint;
    let level = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let text = if instead.is_empty() { what.clone() } else { format!("{what}. Write: {instead}") };
    let mut location = json!({"artifactLocation": {"uri": uri(path)}});
    // The format counts from 1; a complaint about a whole file has no region.
    if *line > 0 {
        location["region"] = json!({"startLine": line, "startColumn": (*column).max(1)});
    }
    json!({
        "ruleId": code,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
    })
}

/// A path as a reference: every byte that may not stand for itself in a segment
/// (RFC 3986, `pchar`) as `%` and two digits. A colon may, but in the first
/// segment of a relative path it would end the name of a scheme.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => uri.push(char::from(byte)),
            b'/' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*'
            | b'+' | b',' | b';' | b'=' | b'@' => uri.push(char::from(byte)),
            _ => write!(uri, "%{byte:02X}").unwrap_or_default(),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(line: u32, severity: Severity) -> Complaint {
        Complaint {
            path: "policies.d/ssh.yaml".to_owned(),
            line,
            column: 5,
            severity,
            code: "entity-all".to_owned(),
            what: "everybody".to_owned(),
            instead: "somebody".to_owned(),
            excerpt: String::new(),
        }
    }

    #[test]
    fn a_path_is_a_valid_reference() {
        assert_eq!(
            uri("/etc/hostfw/policies.d/ssh-1_2.yaml"),
            "/etc/hostfw/policies.d/ssh-1_2.yaml"
        );
        assert_eq!(uri("a b,c:d%e#f?.yaml"), "a%20b,c%3Ad%25e%23f%3F.yaml");
        assert_eq!(uri("d/ä.yaml"), "d/%C3%A4.yaml");
        let complaint = Complaint { path: "a b.yaml".to_owned(), ..complaint(3, Severity::Error) };
        let log = log(&[complaint]);
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.yaml");
    }

    #[test]
    fn a_log_has_what_the_format_requires() {
        let log = log(&[complaint(3, Severity::Warning), complaint(0, Severity::Error)]);
        assert_eq!(log["version"], "2.1.0");
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["name"], "hostfw");
        assert_eq!(run["tool"]["driver"]["rules"].as_array().map(Vec::len), Some(1));
        let [first, second] = run["results"].as_array().expect("a list").as_slice() else {
            panic!("two results")
        };
        assert_eq!(first["ruleId"], "entity-all");
        assert_eq!(first["level"], "warning");
        assert_eq!(first["message"]["text"], "everybody. Write: somebody");
        let place = &first["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "policies.d/ssh.yaml");
        assert_eq!(
            (&place["region"]["startLine"], &place["region"]["startColumn"]),
            (&json!(3), &json!(5))
        );
        assert_eq!(second["level"], "error");
        assert!(second["locations"][0]["physicalLocation"].get("region").is_none());
    }
}
