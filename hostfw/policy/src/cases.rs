//! Test cases beside the policies: who may reach whom, said by the author and
//! asked of the images. A file whose name ends in `.test.yaml` holds cases and
//! no policies.
//!
//! ```yaml
//! tests:
//! - name: operators reach SSH
//!   from: 192.0.2.7        # an address, a node, NAMESPACE/POD, labels, an entity
//!   to: cp-1
//!   port: tcp/22
//!   expect: allow          # allow, deny or redirect
//! ```

use crate::{
    atlas::{Atlas, AtlasError, End, Judgement},
    complaint::{Complaint, Report, Source},
    fields::{self, Fields},
    file_name::FileName,
    node::ThisNode,
    text::{self, Node, Position},
    what::What,
    world::World,
};

/// What somebody expects of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file.
    pub path: String,
    /// Where the case starts.
    pub at: Position,
    /// What it is called.
    pub name: String,
    /// Where the connection leaves.
    pub from: End,
    /// Where it arrives.
    pub to: End,
    /// Protocol and port.
    pub what: What,
    /// What should become of it.
    pub expect: Expected,
}

/// What should become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Both ends let it pass as it is.
    Allow,
    /// One end or the other does not.
    Deny,
    /// Both ends let it pass, one of them through a proxy.
    Redirect,
}

impl Expected {
    /// The word in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Redirect => "redirect",
        }
    }

    /// What both ends together come to.
    pub fn of(judgements: &[Judgement]) -> Self {
        if !judgements.iter().all(Judgement::passes) {
            Self::Deny
        } else if judgements.iter().all(|one| one.answer.allows()) {
            Self::Allow
        } else {
            Self::Redirect
        }
    }
}

/// What became of a case.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// The case.
    pub case: Case,
    /// Both ends, where the question has an answer.
    pub judged: Result<Vec<Judgement>, AtlasError>,
}

impl CaseResult {
    /// Whether the images say what is expected.
    pub fn passed(&self) -> bool {
        self.got() == Some(self.case.expect)
    }

    /// What the images say.
    pub fn got(&self) -> Option<Expected> {
        self.judged.as_ref().ok().map(|judged| Expected::of(judged))
    }

    /// What went otherwise, in one line.
    pub fn why(&self) -> String {
        match &self.judged {
            Err(error) => error.to_string(),
            Ok(judged) => {
                let got = Expected::of(judged).name();
                let ends: Vec<String> = judged.iter().map(end).collect();
                format!("expected {}, got {got}: {}", self.case.expect.name(), ends.join("; "))
            }
        }
    }
}

/// One end in a few words.
fn end(judgement: &Judgement) -> String {
    let way = match judgement.direction {
        hostfw_datapath::Direction::Ingress => "ingress",
        hostfw_datapath::Direction::Egress => "egress",
    };
    let by = judgement.rule.as_ref().map_or_else(String::new, |rule| match rule.line {
        0 => format!(" by {} ({})", rule.policy, rule.summary),
        line => format!(" by `{}` ({}:{line})", rule.policy, rule.path),
    });
    format!("{way} of {} is {}{by}", judgement.subject, judgement.said())
}

/// Reads the cases among the files of a directory.
pub fn read_cases(
    sources: &[Source],
    world: &World,
    this: &ThisNode,
) -> (Vec<Case>, Vec<Complaint>) {
    let mut cases = Vec::new();
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| FileName::is_cases(&source.path)) {
        let mut report = Report::new(source);
        for document in text::documents(&mut report) {
            let Some(mut fields) = Fields::new(&document, "a file of cases", &mut report) else {
                continue;
            };
            let tests = fields.need("tests", &mut report);
            fields.finish(&mut report, |_| None);
            let items = tests.and_then(|tests| fields::list(tests, "tests", &mut report));
            for item in items.unwrap_or_default() {
                cases.extend(read_case(item, world, this, &mut report));
            }
        }
        complaints.extend(report.finish());
    }
    (cases, complaints)
}

fn read_case(node: &Node, world: &World, this: &ThisNode, report: &mut Report<'_>) -> Option<Case> {
    let mut fields = Fields::new(node, "a case", report)?;
    let name = fields.take("name");
    let [from, to, port, expect] =
        ["from", "to", "port", "expect"].map(|name| fields.need(name, report));
    fields.finish(report, |unknown| match unknown {
        "protocol" | "ports" => Some("port: tcp/443".to_owned()),
        "source" => Some("from:".to_owned()),
        "destination" => Some("to:".to_owned()),
        _ => None,
    });
    let mut end = |node: Option<&Node>, name: &'static str| {
        let node = node?;
        let written = fields::text(node, name, report)?;
        let end = End::read(written, world, this);
        if let Err(error) = &end {
            let instead = "an address, `host`, a node, NAMESPACE/POD, KEY=VALUE or an entity";
            report.error(node.at, "test-unknown", error.to_string(), instead);
        }
        end.ok()
    };
    let (from, to) = (end(from, "from"), end(to, "to"));
    let port = port?;
    let written = fields::text(port, "port", report)?;
    let what = match written.parse::<What>() {
        Ok(what) => what,
        Err(fault) => {
            report.error(port.at, "bad-port", fault, "port: tcp/443");
            return None;
        }
    };
    let expect_node = expect?;
    let expect = match fields::text(expect_node, "expect", report)? {
        "allow" => Expected::Allow,
        "deny" => Expected::Deny,
        "redirect" => Expected::Redirect,
        written => {
            let what = format!("nothing is known as `{written}`");
            report.error(expect_node.at, "bad-expectation", what, "allow, deny or redirect");
            return None;
        }
    };
    let (from, to) = (from?, to?);
    let name = match name {
        Some(name) => fields::text(name, "name", report)?.to_owned(),
        None => format!("{from} to {to}, {what}"),
    };
    let path = report.source().path.clone();
    Some(Case { path, at: node.at, name, from, to, what, expect })
}

/// Asks the images.
pub fn run(cases: Vec<Case>, atlas: &mut Atlas<'_>) -> Vec<CaseResult> {
    cases
        .into_iter()
        .map(|case| {
            let judged = atlas.judge(&case.from, &case.to, case.what);
            CaseResult { case, judged }
        })
        .collect()
}

/// A failing case as a complaint about its file.
pub fn complaint(result: &CaseResult, sources: &[Source]) -> Complaint {
    let Case { path, at, name, .. } = &result.case;
    let bytes = sources.iter().find(|source| source.path == *path).map(|source| &source.bytes);
    Complaint {
        path: path.clone(),
        line: at.line,
        column: at.column,
        severity: crate::complaint::Severity::Error,
        code: "test-failed",
        what: format!("the test `{name}` fails: {}", result.why()),
        instead: "policies that do what the test says, or another expectation".to_owned(),
        excerpt: bytes.map_or_else(String::new, |bytes| crate::complaint::line_of(bytes, at.line)),
    }
}
