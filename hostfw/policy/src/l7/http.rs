//! HTTP rules: what a request has to look like. Texts are regular expressions
//! in RE2's syntax; they are checked here and matched by the proxy.

use super::re2;
use crate::{
    complaint::Report,
    fields::{self, Fields},
    text::Node,
};

/// What a request has to look like; missing texts match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRule {
    /// A regular expression for the path.
    pub path: Option<String>,
    /// A regular expression for the method.
    pub method: Option<String>,
    /// A regular expression for the `Host` header.
    pub host: Option<String>,
    /// Headers that must be there, as `Name` or `Name: value`.
    pub headers: Vec<String>,
    /// Headers with a value, and what to do where they have another one.
    pub header_matches: Vec<HeaderMatch>,
}

/// A header that must have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    /// What to do with a request where it differs.
    pub mismatch: Mismatch,
    /// Its value, where no Secret has it.
    pub value: Option<String>,
    /// The namespace and name of the Secret that has it.
    pub secret: Option<(Option<String>, String)>,
}

/// What is done with a request whose header differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It is denied.
    Deny,
    /// It is logged, and passes.
    Log,
    /// The header is added.
    Add,
    /// The header is removed.
    Delete,
    /// The header gets the value.
    Replace,
}

impl HttpRule {
    pub(super) fn shown(&self) -> String {
        let method = self.method.as_deref().unwrap_or("any method");
        match &self.path {
            Some(path) => format!("{method} {path}"),
            None => method.to_owned(),
        }
    }

    pub(super) fn accepts_all(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<HttpRule> {
    let mut fields = Fields::new(node, "an HTTP rule", report)?;
    let texts = ["path", "method", "host"].map(|name| (name, fields.take(name)));
    let headers = fields.take("headers");
    let matches = fields.take("headerMatches");
    fields.finish(report, |unknown| match unknown {
        "paths" | "url" => Some("path:".to_owned()),
        "methods" => Some("method: \"GET|POST\"".to_owned()),
        "matchName" | "matchPattern" => Some("dns: [...], in place of http".to_owned()),
        _ => None,
    });
    let [path, method, host] = texts.map(|(name, node)| expression(node?, name, report));
    let mut rule = HttpRule { path, method, host, ..HttpRule::default() };
    for item in headers.and_then(|node| fields::list(node, "headers", report)).unwrap_or_default() {
        rule.headers.extend(fields::text(item, "headers", report).map(str::to_owned));
    }
    let items = matches.and_then(|node| fields::list(node, "headerMatches", report));
    for item in items.unwrap_or_default() {
        rule.header_matches.extend(header_match(item, report));
    }
    Some(rule)
}

/// A regular expression; an empty one counts as missing.
fn expression(node: &Node, name: &str, report: &mut Report<'_>) -> Option<String> {
    let written = fields::text(node, name, report)?;
    if let Err(fault) = re2::check(written) {
        let what = format!("`{name}` is no regular expression: {fault}");
        report.error(node.at, "bad-expression", what, "an expression in RE2's syntax");
        return None;
    }
    (!written.is_empty()).then(|| written.to_owned())
}

fn header_match(node: &Node, report: &mut Report<'_>) -> Option<HeaderMatch> {
    let mut fields = Fields::new(node, "a header", report)?;
    let name = fields.need("name", report);
    let value = fields.take("value");
    let secret = fields.take("secret");
    let mismatch = fields.take("mismatch");
    fields.finish(report, |_| None);
    let name = fields::name(name?, "name", report)?;
    let mismatch = match mismatch {
        None => Mismatch::Deny,
        Some(node) => match fields::text(node, "mismatch", report)? {
            "" => Mismatch::Deny,
            "LOG" => Mismatch::Log,
            "ADD" => Mismatch::Add,
            "DELETE" => Mismatch::Delete,
            "REPLACE" => Mismatch::Replace,
            written => {
                let what = format!("nothing is known as `{written}` for a header that differs");
                report.error(node.at, "bad-mismatch", what, "LOG, ADD, DELETE or REPLACE");
                return None;
            }
        },
    };
    let value = match value {
        None => None,
        Some(node) => Some(fields::text(node, "value", report)?.to_owned()),
    };
    let secret = match secret {
        None => None,
        Some(node) => Some(secret_name(node, report)?),
    };
    Some(HeaderMatch { name: name.to_owned(), mismatch, value, secret })
}

fn secret_name(node: &Node, report: &mut Report<'_>) -> Option<(Option<String>, String)> {
    let mut fields = Fields::new(node, "a secret", report)?;
    let namespace = fields.take("namespace");
    let name = fields.need("name", report);
    fields.finish(report, |_| None);
    let namespace = match namespace {
        None => None,
        Some(node) => Some(fields::text(node, "namespace", report)?.to_owned()),
    };
    Some((namespace, fields::name(name?, "name", report)?.to_owned()))
}
