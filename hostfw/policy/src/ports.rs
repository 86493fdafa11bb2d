//! Services: protocols, ports and ranges as `toPorts` writes them. It does not
//! resolve names of ports (a node has none), and knows no packets.

use crate::{
    complaint::Report,
    fields::{self, Fields},
    text::{Node, Value},
};

/// IANA number of TCP.
pub const TCP: u8 = 6;
/// IANA number of UDP.
pub const UDP: u8 = 17;
/// IANA number of SCTP.
pub const SCTP: u8 = 132;
/// IANA number of ICMP for IPv4.
pub const ICMP: u8 = 1;
/// IANA number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// Protocols without ports that `protocol` may name.
pub const WITHOUT_PORTS: &[(&str, u8)] = &[
    ("IGMP", 2),
    ("IPIP", 4),
    ("IPV6", 41),
    ("GRE", 47),
    ("ESP", 50),
    ("AH", 51),
    ("OSPF", 89),
    ("VRRP", 112),
];

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Services {
    /// Every protocol, ICMP and unknown ones included.
    Every,
    /// These; none at all is possible.
    Only(Vec<Service>),
}

/// A protocol and a range of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// IANA number.
    pub protocol: u8,
    /// The first port, or the ICMP type; 0 where the protocol has neither.
    pub first: u16,
    /// The last port, inclusive; `first` for ICMP.
    pub last: u16,
}

impl Service {
    /// One ICMP type.
    pub fn icmp(protocol: u8, number: u8) -> Self {
        Self { protocol, first: number.into(), last: number.into() }
    }

    /// A whole protocol.
    pub const fn whole(protocol: u8) -> Self {
        Self { protocol, first: 0, last: u16::MAX }
    }
}

/// Ports that one entry of `toPorts` may hold.
const MAX_PORTS: usize = 40;

/// Well-known names with the number to write instead.
const NAMES: &[(&str, u16)] = &[
    ("bgp", 179),
    ("dns", 53),
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("ldap", 389),
    ("ldaps", 636),
    ("mysql", 3306),
    ("nfs", 2049),
    ("ntp", 123),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("rdp", 3389),
    ("redis", 6379),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("sunrpc", 111),
    ("syslog", 514),
    ("telnet", 23),
];

/// Reads `toPorts` of a rule for nodes: a list of entries with `ports`.
pub fn read_list(node: &Node, deny: bool, report: &mut Report<'_>) -> Vec<Service> {
    let mut services = Vec::new();
    for item in fields::list(node, "toPorts", report).unwrap_or_default() {
        services.extend(entry(item, deny, report));
    }
    services
}

fn entry(node: &Node, deny: bool, report: &mut Report<'_>) -> Vec<Service> {
    let Some(mut fields) = Fields::new(node, "an entry of `toPorts`", report) else {
        return Vec::new();
    };
    let ports = fields.take("ports");
    if !deny {
        refuse_proxies(&mut fields, report);
    }
    fields.finish(report, |unknown| match unknown {
        "port" | "endPort" | "protocol" => {
            Some(format!("ports: [{{{unknown}: ...}}], one level deeper"))
        }
        "rules" => Some("remove it: a deny rule ends at ports".to_owned()),
        _ => None,
    });
    let Some(ports) = ports else { return Vec::new() };
    let items = fields::list(ports, "ports", report).unwrap_or_default();
    if items.len() > MAX_PORTS {
        let what = format!("{} ports in one entry; {MAX_PORTS} are possible", items.len());
        report.error(ports.at, "too-many", what, "several entries, or a range with endPort");
    }
    items.iter().filter_map(|item| port(item, report)).flatten().collect()
}

/// What hands a connection to a proxy has no place in a policy for nodes.
fn refuse_proxies(fields: &mut Fields<'_>, report: &mut Report<'_>) {
    for name in ["rules", "serverNames", "listener", "terminatingTLS", "originatingTLS"] {
        let Some(entry) = fields.take_entry(name) else { continue };
        match &entry.value.value {
            Value::Map(entries) if entries.is_empty() => {}
            Value::List(items) if items.is_empty() => {}
            Value::Null
            | Value::Text(_)
            | Value::Number(_)
            | Value::Truth(_)
            | Value::List(_)
            | Value::Map(_) => {
                let what = format!("`{name}` needs a proxy; a policy for nodes ends at ports");
                report.error(entry.at, "l7-on-host", what, "remove it");
            }
        }
    }
}

fn port(node: &Node, report: &mut Report<'_>) -> Option<Vec<Service>> {
    let mut fields = Fields::new(node, "a port", report)?;
    let port_node = fields.take("port");
    let end_node = fields.take("endPort");
    let protocol_node = fields.take("protocol");
    let at = fields.at();
    fields.finish(report, |_| None);

    let written = match protocol_node {
        None => "",
        Some(node) => fields::text(node, "protocol", report)?,
    };
    let folded = written.to_ascii_uppercase();
    let protocols: &[u8] = match folded.as_str() {
        "" | "ANY" => &[TCP, UDP, SCTP],
        "TCP" => &[TCP],
        "UDP" => &[UDP],
        "SCTP" => &[SCTP],
        name => {
            let protocol_at = protocol_node.unwrap_or(node).at;
            return without_ports(name, written, protocol_at, port_node, end_node, report);
        }
    };

    let Some(port_node) = port_node else {
        let what = "a port has no `port`";
        report.error(at, "missing-field", what, "port: \"443\", or port: \"0\" for every port");
        return None;
    };
    let first = number(port_node, report)?;
    let last = match end_node {
        None => first,
        Some(node) => end(node, first, report)?,
    };
    let (first, last) = if first == 0 { (0, u16::MAX) } else { (first, last) };
    Some(protocols.iter().map(|protocol| Service { protocol: *protocol, first, last }).collect())
}

fn without_ports(
    name: &str,
    written: &str,
    at: crate::text::Position,
    port_node: Option<&Node>,
    end_node: Option<&Node>,
    report: &mut Report<'_>,
) -> Option<Vec<Service>> {
    if let Some((_, number)) = WITHOUT_PORTS.iter().find(|(known, _)| *known == name) {
        let port = match port_node {
            None => "",
            Some(node) => fields::text(node, "port", report)?,
        };
        if !matches!(port, "" | "0") || end_node.is_some() {
            let node_at = port_node.or(end_node).map_or(at, |node| node.at);
            report.error(node_at, "bad-port", format!("{name} has no ports"), "remove the port");
            return None;
        }
        return Some(vec![Service::whole(*number)]);
    }
    let mut names = vec!["TCP", "UDP", "SCTP", "ANY"];
    names.extend(WITHOUT_PORTS.iter().map(|(name, _)| *name));
    let instead = if name.starts_with("ICMP") {
        "icmps: [{fields: [{type: EchoRequest, family: IPv4}]}] in place of toPorts".to_owned()
    } else {
        fields::nearest(name, &names)
            .map_or_else(|| format!("one of {}", names.join(", ")), str::to_owned)
    };
    let what = format!("`toPorts` knows no protocol `{written}`");
    report.error(at, "bad-protocol", what, instead);
    None
}

/// Reads `port`: a plain decimal number in quotes.
fn number(node: &Node, report: &mut Report<'_>) -> Option<u16> {
    let written = fields::text(node, "port", report)?;
    let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (written == "0" || !written.starts_with('0')) {
        let number = written.parse().ok();
        if number.is_none() {
            let what = format!("there is no port {written}");
            report.error(node.at, "bad-port", what, "a number from 0 to 65535");
        }
        return number;
    }
    if digits {
        let instead = format!("port: \"{}\"", written.trim_start_matches('0'));
        let what = format!("`{written}` may be read as octal");
        report.error(node.at, "bad-port", what, instead);
    } else if is_name(written) && !is_number_in_disguise(written) {
        let folded = written.to_ascii_lowercase();
        let known = NAMES.iter().find(|(name, _)| *name == folded);
        let instead = known.map_or_else(
            || "the number of the port".to_owned(),
            |(_, number)| format!("port: \"{number}\""),
        );
        let what = format!("`{written}` is a port name; nodes have none, it would match nothing");
        report.error(node.at, "named-port", what, instead);
    } else {
        let what = format!("`{written}` is no port");
        report.error(node.at, "bad-port", what, "a plain decimal number, as in port: \"443\"");
    }
    None
}

/// IANA service names: 1 to 15 letters, digits and single inner dashes, with at
/// least one letter (RFC 6335 section 5.1).
fn is_name(written: &str) -> bool {
    (1..=15).contains(&written.len())
        && written.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && written.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !written.starts_with('-')
        && !written.ends_with('-')
        && !written.contains("--")
}

/// `0x50` and `0b101` are names by their syntax and numbers to their author.
fn is_number_in_disguise(written: &str) -> bool {
    written.starts_with('0') && written.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Reads `endPort`, the last port of a range.
fn end(node: &Node, first: u16, report: &mut Report<'_>) -> Option<u16> {
    let number = match &node.value {
        Value::Number(written) => written.parse::<u16>().ok(),
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
            let what = format!("`endPort` must be a number without quotes, but is {}", node.kind());
            let written = if let Value::Text(text) = &node.value { text } else { "8090" };
            report.error(node.at, "wrong-type", what, format!("endPort: {written}"));
            return None;
        }
    };
    let Some(last) = number else {
        report.error(node.at, "bad-port", "endPort is no port", "a number from 0 to 65535");
        return None;
    };
    if last < first && last != 0 {
        let what = format!("endPort {last} is below port {first}, so only port {first} matches");
        report.warning(node.at, "range-backwards", what, "the larger number as endPort");
    }
    Some(last.max(first))
}
