//! What a proxy is to look at, as an entry of `toPorts` writes it: rules for
//! HTTP, DNS, Kafka and other protocols, server names of TLS, a listener. It is
//! read, checked and carried along; nothing here looks at a request.

mod http;
mod kafka;
mod re2;

use std::fmt::Write as _;

use hostfw_datapath::Direction;

pub use self::{
    http::{HeaderMatch, HttpRule, Mismatch},
    kafka::KafkaRule,
};
use crate::{
    complaint::Report,
    fields::{self, Fields},
    fqdn::{self, NamePattern},
    ports::TCP,
    text::{Entry, Node, Position, Value},
};

/// What a proxy is to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L7 {
    /// Where it stands.
    pub at: Position,
    /// Which proxy that is.
    pub proxy: Proxy,
    /// What it lets through.
    pub rules: L7Rules,
    /// Names that a TLS client may ask for; none for any.
    pub server_names: Vec<String>,
    /// The proxy takes the connection's TLS off.
    pub terminates_tls: bool,
    /// A listener of the proxy that is named by its resource.
    pub listener: Option<Listener>,
}

/// Which proxy a flow is handed to. Where rules ask for several, the first of
/// this order has it, unless one is a listener with a priority (rule 26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proxy {
    /// Requests of HTTP.
    Http,
    /// Server names of TLS.
    Tls,
    /// Questions of DNS.
    Dns,
    /// Any other protocol.
    Generic,
    /// A listener that the policy names.
    Listener,
}

/// Rules of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum L7Rules {
    /// No rule: the proxy is wanted for another reason.
    Nothing,
    /// Requests; any of the rules.
    Http(Vec<HttpRule>),
    /// Questions; any of the names.
    Dns(Vec<NamePattern>),
    /// Kafka requests; any of the rules.
    Kafka(Vec<KafkaRule>),
    /// Another protocol by its name; each rule is a list of fields.
    Other(String, Vec<Vec<(String, String)>>),
}

impl L7Rules {
    /// Which protocol they are about; an empty name for none.
    pub(crate) fn protocol(&self) -> &str {
        match self {
            Self::Nothing => "",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Kafka(_) => "kafka",
            Self::Other(protocol, _) => protocol,
        }
    }

    /// True for a list without rules, which asks for nothing.
    fn is_empty(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Http(rules) => rules.is_empty(),
            Self::Dns(names) => names.is_empty(),
            Self::Kafka(rules) => rules.is_empty(),
            Self::Other(..) => false,
        }
    }
}

/// A listener by its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The resource, with its kind.
    pub resource: (String, String),
    /// The listener in it.
    pub name: String,
    /// 1 to 100; the smaller wins.
    pub priority: Option<u8>,
}

/// What an entry says beside its L7 part.
#[derive(Clone, Copy, Debug)]
pub struct EntryContext<'a> {
    /// The direction of the rule.
    pub direction: Direction,
    /// The policy selects nodes.
    pub for_nodes: bool,
    /// The protocols of the entry's ports.
    pub protocols: &'a [u8],
    /// One of them means every port.
    pub has_port_0: bool,
    /// One of them is a range.
    pub has_range: bool,
    /// There is one at all.
    pub has_ports: bool,
    /// The policy has no namespace.
    pub is_clusterwide: bool,
}

impl L7 {
    /// A few words for listings.
    pub fn shown(&self) -> String {
        let mut shown = match &self.rules {
            L7Rules::Nothing => String::new(),
            L7Rules::Http(rules) => format!("HTTP {}", several(rules.iter().map(HttpRule::shown))),
            L7Rules::Dns(names) => {
                format!("DNS {}", several(names.iter().map(|one| one.as_written().to_owned())))
            }
            L7Rules::Kafka(rules) => {
                format!("Kafka {}", several(rules.iter().map(KafkaRule::shown)))
            }
            L7Rules::Other(protocol, _) => protocol.clone(),
        };
        if !self.server_names.is_empty() {
            let gap = if shown.is_empty() { "" } else { ", " };
            let names = several(self.server_names.iter().cloned());
            write!(shown, "{gap}TLS {names}").unwrap_or_default();
        }
        if let Some(listener) = &self.listener {
            let gap = if shown.is_empty() { "" } else { ", " };
            write!(shown, "{gap}listener {}", listener.name).unwrap_or_default();
        }
        if shown.is_empty() { "TLS".to_owned() } else { shown }
    }

    /// True when every request passes the proxy.
    pub fn accepts_all(&self) -> bool {
        self.server_names.is_empty()
            && match &self.rules {
                L7Rules::Nothing | L7Rules::Other(..) => false,
                L7Rules::Http(rules) => rules.iter().any(HttpRule::accepts_all),
                L7Rules::Dns(names) => names.iter().any(NamePattern::is_every_name),
                L7Rules::Kafka(rules) => rules.iter().any(KafkaRule::accepts_all),
            }
    }
}

/// Takes the L7 fields out of an entry of `toPorts`.
pub fn read(
    fields: &mut Fields<'_>,
    context: &EntryContext<'_>,
    report: &mut Report<'_>,
) -> Option<L7> {
    let rules_entry = fields.take_entry("rules");
    let names_entry = fields.take_entry("serverNames");
    let listener_entry = fields.take_entry("listener");
    let terminating = fields.take_entry("terminatingTLS");
    let originating = fields.take_entry("originatingTLS");

    let rules = rules_entry.and_then(|entry| read_rules(&entry.value, report));
    let server_names = names_entry.map(|entry| read_server_names(&entry.value, report));
    let server_names = server_names.unwrap_or_default();
    let listener = listener_entry.and_then(|entry| read_listener(entry, context, report));
    for tls in [terminating, originating].into_iter().flatten() {
        read_tls(tls, report);
    }
    let all = [rules_entry, names_entry, listener_entry, terminating, originating];
    let at = all.into_iter().flatten().map(|entry| entry.at).min()?;
    if let (Some(_), Some(listener)) = (&rules, listener_entry) {
        let what = "`listener` cannot stand beside `rules`";
        report.error(listener.at, "bad-listener", what, "an entry of its own");
    }
    if let (Some(names), Some(_), None) = (names_entry, &rules, terminating)
        && !server_names.is_empty()
    {
        let what = "`rules` see nothing of a TLS connection that is only named";
        report.error(
            names.at,
            "bad-server-name",
            what,
            "terminatingTLS besides, or one of the two",
        );
    }
    let is_empty = rules.as_ref().is_some_and(L7Rules::is_empty);
    let is_dns = matches!(rules, Some(L7Rules::Dns(_)));
    let (proxy, rules) = match rules {
        Some(L7Rules::Http(rules)) if !is_empty => (Some(Proxy::Http), L7Rules::Http(rules)),
        Some(L7Rules::Dns(names)) if !is_empty => (Some(Proxy::Dns), L7Rules::Dns(names)),
        Some(rules) if !is_empty => (Some(Proxy::Generic), rules),
        _ if listener.is_some() => (Some(Proxy::Listener), L7Rules::Nothing),
        _ if !server_names.is_empty() || terminating.is_some() || originating.is_some() => {
            (Some(Proxy::Tls), L7Rules::Nothing)
        }
        Some(_) => (None, L7Rules::Nothing),
        None => return None,
    };
    check_place(at, proxy, context, report);
    if is_dns && !context.has_ports {
        let what = "DNS rules need the port of the DNS servers";
        report.error(at, "bad-l7", what, "ports: [{port: \"53\"}], beside them");
    }
    let terminates_tls = terminating.is_some();
    Some(L7 { at, proxy: proxy?, rules, server_names, terminates_tls, listener })
}

/// Where each proxy can stand at all. An empty list of rules asks for none, and
/// has its place where rules have theirs: the author is about to add some.
fn check_place(
    at: Position,
    proxy: Option<Proxy>,
    context: &EntryContext<'_>,
    report: &mut Report<'_>,
) {
    let EntryContext { direction, for_nodes, protocols, has_port_0, has_range, .. } = *context;
    let mut refuse = |what: &str, instead: &str| {
        let instead = if proxy.is_some() { instead } else { "remove the empty list" };
        report.error(at, "bad-l7", what, instead);
    };
    if for_nodes && direction == Direction::Ingress {
        refuse("a node's ingress has no proxy; its policy ends at ports", "remove it");
    } else if for_nodes && proxy == Some(Proxy::Http) {
        refuse("a node's egress has no proxy for HTTP", "remove it, or select pods");
    }
    if proxy == Some(Proxy::Dns) && direction == Direction::Ingress {
        refuse("DNS rules belong under `egress`", "an egress rule to the DNS servers");
    }
    if proxy != Some(Proxy::Dns) && protocols.iter().any(|protocol| *protocol != TCP) {
        refuse("the proxy speaks TCP only", "protocol: TCP");
    }
    if has_port_0 {
        refuse("a proxy needs ports, and port 0 is every one", "the port itself");
    }
    if proxy == Some(Proxy::Dns) && has_range {
        refuse("DNS rules take no range of ports", "port: \"53\", without endPort");
    }
}

/// `rules`: one protocol, or none.
fn read_rules(node: &Node, report: &mut Report<'_>) -> Option<L7Rules> {
    let mut fields = Fields::new(node, "rules", report)?;
    let http = fields.take("http");
    let dns = fields.take("dns");
    let kafka = fields.take("kafka");
    let protocol = fields.take("l7proto");
    let other = fields.take_entry("l7");
    fields.finish(report, |unknown| match unknown {
        "path" | "method" | "host" | "headers" => {
            Some(format!("http: [{{{unknown}: ...}}], one level deeper"))
        }
        "matchName" | "matchPattern" => {
            Some(format!("dns: [{{{unknown}: ...}}], one level deeper"))
        }
        "topic" | "apiKey" => Some(format!("kafka: [{{{unknown}: ...}}], one level deeper")),
        _ => None,
    });
    let several = [http.is_some(), dns.is_some(), kafka.is_some(), protocol.is_some()];
    if several.into_iter().filter(|one| *one).count() > 1 {
        let what = "`rules` are about one protocol";
        report.error(node.at, "two-protocols", what, "an entry of its own for each");
        return None;
    }
    if let (Some(entry), None) = (other, protocol) {
        let what = "`l7` needs the name of its protocol";
        report.error(entry.at, "missing-field", what, "l7proto: cassandra, beside it");
    }
    if let Some(node) = http {
        let rules = fields::list(node, "http", report)?;
        let rules = rules.iter().filter_map(|rule| http::read(rule, report));
        return Some(L7Rules::Http(rules.collect()));
    }
    if let Some(node) = dns {
        return Some(L7Rules::Dns(fqdn::read_list(node, "dns", report)));
    }
    if let Some(node) = kafka {
        let rules = fields::list(node, "kafka", report)?;
        return Some(L7Rules::Kafka(
            rules.iter().filter_map(|rule| kafka::read(rule, report)).collect(),
        ));
    }
    let protocol = fields::name(protocol?, "l7proto", report)?;
    let mut rules = Vec::new();
    for item in other.and_then(|entry| fields::list(&entry.value, "l7", report)).unwrap_or_default()
    {
        let pairs = fields::text_map(item, "l7", report).into_iter();
        rules.push(pairs.map(|(entry, text)| (entry.key.clone(), text.to_owned())).collect());
    }
    Some(L7Rules::Other(protocol.to_owned(), rules))
}

/// `serverNames`: names as TLS clients send them, a leading star allowed.
fn read_server_names(node: &Node, report: &mut Report<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for item in fields::list(node, "serverNames", report).unwrap_or_default() {
        let Some(name) = fields::text(item, "serverNames", report) else { continue };
        let known =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
        if name.is_empty() || name.len() > 255 || !name.bytes().all(known) {
            let what = format!("`{name}` is no server name");
            report.error(item.at, "bad-server-name", what, "www.example.com or *.example.com");
            continue;
        }
        names.push(name.to_owned());
    }
    names
}

fn read_listener(
    entry: &Entry,
    context: &EntryContext<'_>,
    report: &mut Report<'_>,
) -> Option<Listener> {
    let mut fields = Fields::new(&entry.value, "a listener", report)?;
    let config = fields.need("envoyConfig", report);
    let name = fields.need("name", report);
    let priority = fields.take("priority");
    fields.finish(report, |_| None);
    if context.direction == Direction::Ingress {
        let what = "a listener takes connections that leave; it has no place under `ingress`";
        report.error(entry.at, "bad-listener", what, "an egress rule");
    }
    let config = config?;
    let mut fields = Fields::new(config, "envoyConfig", report)?;
    let kind_node = fields.take("kind");
    let resource = fields.need("name", report);
    fields.finish(report, |_| None);
    let kind = match kind_node {
        Some(kind) => fields::text(kind, "kind", report)?,
        None if context.is_clusterwide => "CiliumClusterwideEnvoyConfig",
        None => "CiliumEnvoyConfig",
    };
    if !matches!(kind, "CiliumEnvoyConfig" | "CiliumClusterwideEnvoyConfig") {
        let what = format!("a listener cannot stand in a `{kind}`");
        let at = kind_node.unwrap_or(config).at;
        report.error(at, "bad-listener", what, "CiliumEnvoyConfig or CiliumClusterwideEnvoyConfig");
    } else if context.is_clusterwide && kind == "CiliumEnvoyConfig" {
        let what = "a clusterwide policy cannot name a resource of a namespace";
        let at = kind_node.unwrap_or(config).at;
        report.error(at, "bad-listener", what, "kind: CiliumClusterwideEnvoyConfig");
    }
    let resource = fields::name(resource?, "name", report)?;
    let name = fields::name(name?, "name", report)?;
    let priority = match priority {
        None => None,
        Some(node) => {
            let number = match &node.value {
                Value::Number(written) => written.parse().ok(),
                Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
                    None
                }
            };
            if !number.is_some_and(|number: u8| (1..=100).contains(&number)) {
                let what = "there is no such priority of a listener";
                report.error(node.at, "bad-listener", what, "a number from 1 to 100");
            }
            number
        }
    };
    let resource = (kind.to_owned(), resource.to_owned());
    Some(Listener { resource, name: name.to_owned(), priority })
}

/// `terminatingTLS` and `originatingTLS`: where the keys are.
fn read_tls(entry: &Entry, report: &mut Report<'_>) {
    let owner = if entry.key == "originatingTLS" { "originatingTLS" } else { "terminatingTLS" };
    let Some(mut fields) = Fields::new(&entry.value, owner, report) else { return };
    if let Some(secret) = fields.need("secret", report) {
        read_secret(secret, report);
    }
    for name in ["trustedCA", "certificate", "privateKey"] {
        if let Some(node) = fields.take(name) {
            fields::text(node, name, report);
        }
    }
    fields.finish(report, |_| None);
}

/// A Secret by namespace and name.
fn read_secret(node: &Node, report: &mut Report<'_>) {
    let Some(mut fields) = Fields::new(node, "a secret", report) else { return };
    let namespace = fields.take("namespace");
    let name = fields.need("name", report);
    fields.finish(report, |_| None);
    if let Some(node) = namespace {
        fields::text(node, "namespace", report);
    }
    if let Some(node) = name {
        fields::name(node, "name", report);
    }
}

fn several(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.as_slice() {
        [] => "any".to_owned(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
