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
//!
//! The daemon always knows its node. Where files are looked at for no node in
//! particular, a case may have no answer, although it has one on every node.

use crate::{
    atlas::{Atlas, AtlasError, End, Judgement},
    complaint::{Complaint, Report, Source},
    entity::Entity,
    fields::{self, Fields},
    file_name::FileName,
    node::{Options, ThisNode},
    policy::Policy,
    text::{self, Node, Position, Value},
    what::{What, WhatError},
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

/// A case that has no answer as long as no node is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// The file.
    pub path: String,
    /// Where the case starts.
    pub at: Position,
    /// What it is called.
    pub name: String,
    /// What is not known.
    pub why: String,
}

/// What became of the cases of a directory.
#[derive(Debug, Default)]
pub struct Answers {
    /// Those that were asked.
    pub results: Vec<CaseResult>,
    /// Those that could not be.
    pub unasked: Vec<Unasked>,
    /// About those that could not be read.
    pub complaints: Vec<Complaint>,
}

/// Reads the cases among the files of a directory and asks them of the images:
/// as the daemon of `this` does, or for no node in particular.
pub fn ask(
    policies: &[Policy],
    sources: &[Source],
    world: &World,
    this: Option<&ThisNode>,
    options: &Options,
) -> Answers {
    let Reading { cases, mut unasked, complaints } = read(sources, world, this);
    let nobody = ThisNode::default();
    let mut atlas = Atlas::new(policies, world, this.unwrap_or(&nobody), options);
    let mut results = run(cases, &mut atlas);
    if this.is_none() {
        results.retain(|result| {
            let Some(why) = missing_to_answer(result, world) else { return true };
            let Case { path, at, name, .. } = result.case.clone();
            unasked.push(Unasked { path, at, name, why });
            false
        });
    }
    unasked.sort_by(|one, other| (&one.path, one.at).cmp(&(&other.path, other.at)));
    Answers { results, unasked, complaints }
}

/// Reads the cases among the files of a directory.
pub fn read_cases(
    sources: &[Source],
    world: &World,
    this: &ThisNode,
) -> (Vec<Case>, Vec<Complaint>) {
    let Reading { cases, unasked: _, complaints } = read(sources, world, Some(this));
    (cases, complaints)
}

/// What is read.
#[derive(Default)]
struct Reading {
    cases: Vec<Case>,
    unasked: Vec<Unasked>,
    complaints: Vec<Complaint>,
}

fn read(sources: &[Source], world: &World, this: Option<&ThisNode>) -> Reading {
    let mut reading = Reading::default();
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
                match read_case(item, world, this, &mut report) {
                    Some(Ok(case)) => reading.cases.push(case),
                    Some(Err(unasked)) => reading.unasked.push(unasked),
                    None => {}
                }
            }
        }
        reading.complaints.extend(report.finish());
    }
    reading
}

fn read_case(
    node: &Node,
    world: &World,
    this: Option<&ThisNode>,
    report: &mut Report<'_>,
) -> Option<Result<Case, Unasked>> {
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
        match End::read_for(written, world, this) {
            Ok(end) => Some(Ok(end)),
            Err(error) => {
                let missing = missing_to_read(written, &error, world).filter(|_| this.is_none());
                if missing.is_none() {
                    let instead =
                        "an address, `host`, a node, NAMESPACE/POD, KEY=VALUE or an entity";
                    report.error(node.at, "test-unknown", error.to_string(), instead);
                }
                Some(Err((written.to_owned(), missing?)))
            }
        }
    };
    let (from, to) = (end(from, "from"), end(to, "to"));
    let port = port?;
    let written = match &port.value {
        // Quotes would not say which protocol is meant.
        Value::Number(written) => written,
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
            fields::text(port, "port", report)?
        }
    };
    let what = match written.parse::<What>() {
        Ok(what) => what,
        Err(WhatError { what, instead }) => {
            report.error(port.at, "bad-port", what, format!("port: {instead}"));
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
        None => {
            let [from, to] = [&from, &to].map(|end| match end {
                Ok(end) => end.to_string(),
                Err((written, _)) => format!("`{written}`"),
            });
            format!("{from} to {to}, {what}")
        }
    };
    let (path, at) = (report.source().path.clone(), node.at);
    Some(match (from, to) {
        (Ok(from), Ok(to)) => Ok(Case { path, at, name, from, to, what, expect }),
        (Err((_, why)), _) | (_, Err((_, why))) => Err(Unasked { path, at, name, why }),
    })
}

/// What has to be known of a node and its world before an end can be told from
/// a typing error; `None` where it is one on every node.
fn missing_to_read(written: &str, error: &AtlasError, world: &World) -> Option<String> {
    match error {
        AtlasError::NoNode(_) => Some(error.to_string()),
        AtlasError::Unknown(_) if written.contains(['/', '=']) => (*world == World::default())
            .then(|| format!("`{written}` may be a pod, and no world is known")),
        AtlasError::Unknown(_) => world
            .nodes
            .is_empty()
            .then(|| format!("`{written}` may be a node, and no node is known")),
        AtlasError::NoLabel { .. }
        | AtlasError::NoAddress(_)
        | AtlasError::Family { .. }
        | AtlasError::NoSubject(..)
        | AtlasError::Compile(..) => None,
    }
}

/// What has to be known of a node and its world before a question without an
/// answer fails; `None` where it fails on every node, or has an answer.
fn missing_to_answer(result: &CaseResult, world: &World) -> Option<String> {
    match result.judged.as_ref().err()? {
        AtlasError::NoSubject(from, to) => [from, to]
            .into_iter()
            .find(|end| matches!(end, End::Address(_)))
            .map(|end| format!("{end} may be an address of the node, and no node is named")),
        error @ AtlasError::NoAddress(End::Entity(Entity::KubeApiserver)) => {
            (*world == World::default()).then(|| format!("{error}, and no world is known"))
        }
        AtlasError::Unknown(_)
        | AtlasError::NoNode(_)
        | AtlasError::NoLabel { .. }
        | AtlasError::NoAddress(_)
        | AtlasError::Family { .. }
        | AtlasError::Compile(..) => None,
    }
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
    let (verb, instead) = match &result.judged {
        Ok(_) => ("fails", "policies that do what the test says, or another expectation"),
        Err(AtlasError::Compile(..)) => ("has no answer", "policies that can be compiled"),
        Err(AtlasError::Family { .. }) => ("has no answer", "two ends of the protocol's family"),
        Err(AtlasError::NoAddress(_)) => ("has no answer", "ends that have addresses"),
        Err(_) => ("has no answer", "a node or a pod as one end at least"),
    };
    Complaint {
        path: path.clone(),
        line: at.line,
        column: at.column,
        severity: crate::complaint::Severity::Error,
        code: "test-failed",
        what: format!("the test `{name}` {verb}: {}", result.why()),
        instead: instead.to_owned(),
        excerpt: bytes.map_or_else(String::new, |bytes| crate::complaint::line_of(bytes, at.line)),
    }
}
