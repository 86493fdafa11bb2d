//! Kafka rules: which requests a client may send, to which topics.

use crate::{
    complaint::Report,
    fields::{self, Fields},
    text::{Node, Value},
};

/// What a Kafka request has to look like; missing fields match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaRule {
    /// `produce` or `consume`: the requests that the role needs.
    pub role: Option<String>,
    /// One kind of request.
    pub api_key: Option<String>,
    /// The version of it.
    pub api_version: Option<String>,
    /// The client's own name.
    pub client_id: Option<String>,
    /// The topic.
    pub topic: Option<String>,
}

/// Kinds of requests by the names of the protocol's guide.
const API_KEYS: &[&str] = &[
    "produce",
    "fetch",
    "offsets",
    "metadata",
    "leaderandisr",
    "stopreplica",
    "updatemetadata",
    "controlledshutdown",
    "offsetcommit",
    "offsetfetch",
    "findcoordinator",
    "joingroup",
    "heartbeat",
    "leavegroup",
    "syncgroup",
    "describegroups",
    "listgroups",
    "saslhandshake",
    "apiversions",
    "createtopics",
    "deletetopics",
    "deleterecords",
    "initproducerid",
    "offsetforleaderepoch",
    "addpartitionstotxn",
    "addoffsetstotxn",
    "endtxn",
    "writetxnmarkers",
    "txnoffsetcommit",
    "describeacls",
    "createacls",
    "deleteacls",
    "describeconfigs",
    "alterconfigs",
];

/// A topic's name has at most this many characters.
const MAX_TOPIC: usize = 255;

impl KafkaRule {
    pub(super) fn shown(&self) -> String {
        let verb = self.role.as_deref().or(self.api_key.as_deref()).unwrap_or("any request");
        match &self.topic {
            Some(topic) => format!("{verb} {topic}"),
            None => verb.to_owned(),
        }
    }

    pub(super) fn accepts_all(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Option<KafkaRule> {
    let mut fields = Fields::new(node, "a Kafka rule", report)?;
    let [role, api_key, api_version, client_id, topic] =
        ["role", "apiKey", "apiVersion", "clientID", "topic"].map(|name| (name, fields.take(name)));
    fields.finish(report, |unknown| {
        (unknown.eq_ignore_ascii_case("clientid")).then(|| "clientID:".to_owned())
    });
    if let (Some(_), Some(key)) = (role.1, api_key.1) {
        let what = "`role` and `apiKey` exclude each other";
        report.error(key.at, "bad-kafka", what, "one of the two");
    }
    let mut text = |(name, node): (&'static str, Option<&Node>)| {
        let written = fields::text(node?, name, report)?;
        (!written.is_empty()).then(|| written.to_owned())
    };
    let rule = KafkaRule {
        role: text(role),
        api_key: text(api_key),
        api_version: text(api_version),
        client_id: text(client_id),
        topic: text(topic),
    };
    let mut check = |node: Option<&Node>, is_good: bool, what: &str, instead: &str| {
        if let Some(node) = node.filter(|node| matches!(node.value, Value::Text(_)) && !is_good) {
            report.error(node.at, "bad-kafka", what, instead);
        }
    };
    let is_role = |role: &String| matches!(role.as_str(), "produce" | "consume");
    check(role.1, rule.role.as_ref().is_none_or(is_role), "no such role", "produce or consume");
    let is_key = |key: &String| API_KEYS.contains(&key.to_ascii_lowercase().as_str());
    let known = rule.api_key.as_ref().is_none_or(is_key);
    check(api_key.1, known, "there is no such kind of request", "produce, fetch, metadata ...");
    let is_version = |version: &String| version.parse::<i16>().is_ok_and(|version| version >= 0);
    let known = rule.api_version.as_ref().is_none_or(is_version);
    check(api_version.1, known, "the version is no number", "apiVersion: \"1\"");
    let is_topic = |topic: &String| {
        topic.len() <= MAX_TOPIC
            && topic
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let known = rule.topic.as_ref().is_none_or(is_topic);
    check(topic.1, known, "this is no topic", "letters, digits, `.`, `_` and `-`");
    Some(rule)
}
