//! Services: protocols, ports and ranges as `toPorts` writes them, and what is
//! to happen above them. It does not resolve names of ports, and knows no
//! packets.

use hostfw_datapath::Direction;

use crate::{
    complaint::Report,
    fields::{self, Fields},
    l7::{self, EntryContext, L7},
    node::Dialect,
    text::{Node, Position, Value},
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
    Only(Vec<Entry>),
}

/// One entry of `toPorts`: services that a rule treats alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Services by number.
    pub services: Vec<Service>,
    /// Services by the name of a pod's port.
    pub named: Vec<NamedPort>,
    /// What a proxy is to look at.
    pub l7: Option<Box<L7>>,
}

impl From<Vec<Service>> for Entry {
    fn from(services: Vec<Service>) -> Self {
        Self { services, named: Vec::new(), l7: None }
    }
}

/// A port by its name: that of the subject in ingress, that of the peer in
/// egress (rule 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// Where it stands.
    pub at: Position,
    /// The name, in lower case.
    pub name: String,
    /// The protocols that are meant.
    pub protocols: &'static [u8],
    /// The last port of a range that begins at the named one; ingress only.
    pub end: Option<u16>,
}

/// A protocol and a range of its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Which list the ports stand in.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The direction of the list.
    pub direction: Direction,
    /// A deny rule ends at ports.
    pub deny: bool,
    /// The policy selects nodes.
    pub for_nodes: bool,
    /// The policy has no namespace.
    pub is_clusterwide: bool,
    /// What the language allows.
    pub dialect: &'a Dialect,
}

/// Reads `toPorts`: a list of entries with `ports`.
pub fn read_list(node: &Node, place: &Place<'_>, report: &mut Report<'_>) -> Vec<Entry> {
    let items = fields::list(node, "toPorts", report).unwrap_or_default();
    items.iter().filter_map(|item| entry(item, place, report)).collect()
}

fn entry(node: &Node, place: &Place<'_>, report: &mut Report<'_>) -> Option<Entry> {
    let mut fields = Fields::new(node, "an entry of `toPorts`", report)?;
    let mut entry = Entry::default();
    let mut protocols: Vec<u8> = Vec::new();
    let mut has_range = false;
    let mut has_ports = false;
    if let Some(ports) = fields.take("ports") {
        let items = fields::list(ports, "ports", report).unwrap_or_default();
        has_ports = !items.is_empty();
        if items.len() > MAX_PORTS {
            let what = format!("{} ports in one entry; {MAX_PORTS} are possible", items.len());
            report.error(ports.at, "too-many", what, "several entries, or a range with endPort");
        }
        for item in items {
            match port(item, place, report) {
                Some(Port::Numbers { services, is_range }) => {
                    protocols.extend(services.iter().map(|service| service.protocol));
                    has_range |= is_range;
                    entry.services.extend(services);
                }
                Some(Port::Name(named)) => {
                    protocols.extend(named.protocols);
                    entry.named.push(named);
                }
                None => {}
            }
        }
    }
    if !place.deny {
        let whole = |service: &Service| service.first == 0 && service.last == u16::MAX;
        let context = EntryContext {
            direction: place.direction,
            for_nodes: place.for_nodes,
            protocols: &protocols,
            has_port_0: entry.services.iter().any(whole),
            has_range,
            has_ports,
            is_clusterwide: place.is_clusterwide,
        };
        entry.l7 = l7::read(&mut fields, &context, report).map(Box::new);
    }
    fields.finish(report, |unknown| match unknown {
        "port" | "endPort" | "protocol" => {
            Some(format!("ports: [{{{unknown}: ...}}], one level deeper"))
        }
        "rules" => Some("remove it: a deny rule ends at ports".to_owned()),
        _ => None,
    });
    Some(entry)
}

/// One item of `ports`.
enum Port {
    Numbers { services: Vec<Service>, is_range: bool },
    Name(NamedPort),
}

fn port(node: &Node, place: &Place<'_>, report: &mut Report<'_>) -> Option<Port> {
    let mut fields = Fields::new(node, "a port", report)?;
    // An empty text counts as missing.
    let port_node = fields.take("port").filter(|node| node.value != Value::Text(String::new()));
    let end_node = fields.take("endPort");
    let protocol_node = fields.take("protocol");
    let at = fields.at();
    fields.finish(report, |_| None);

    let written = match protocol_node {
        None => "",
        Some(node) => fields::text(node, "protocol", report)?,
    };
    let folded = written.to_ascii_uppercase();
    let protocols: &'static [u8] = match folded.as_str() {
        "" | "ANY" => &[TCP, UDP, SCTP],
        "TCP" => &[TCP],
        "UDP" => &[UDP],
        "SCTP" => &[SCTP],
        name => {
            let protocol_at = protocol_node.unwrap_or(node).at;
            let services = without_ports(name, written, protocol_at, port_node, end_node, report)?;
            if port_node.is_none() && !place.dialect.extended_protocols {
                let what = format!("{name} has no `port`, and the extended protocols are off");
                report.error(at, "missing-field", what, "port: \"0\"");
            }
            return Some(Port::Numbers { services, is_range: false });
        }
    };

    let Some(port_node) = port_node else {
        if place.dialect.missing_ports {
            range(0, end_node, report)?;
            let every = protocols.iter().map(|protocol| Service::whole(*protocol));
            return Some(Port::Numbers { services: every.collect(), is_range: false });
        }
        let what = "a port has no `port`";
        report.error(at, "missing-field", what, "port: \"443\", or port: \"0\" for every port");
        return None;
    };
    match number(port_node, report)? {
        Number::Is(first) => {
            let is_every = first == 0;
            let (first, last) = range(first, end_node, report)?;
            let is_range = last != first && !is_every;
            let services =
                protocols.iter().map(|protocol| Service { protocol: *protocol, first, last });
            Some(Port::Numbers { services: services.collect(), is_range })
        }
        Number::Named(name) => {
            let end = match end_node {
                None => None,
                Some(node) => Some(end(node, 0, report)?).filter(|end| *end != 0),
            };
            Some(Port::Name(NamedPort { at: port_node.at, name, protocols, end }))
        }
    }
}

fn without_ports(
    name: &str,
    written: &str,
    at: Position,
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

/// What `port` says.
pub(crate) enum Number {
    Is(u16),
    /// In lower case.
    Named(String),
}

/// Reads `port`: a plain decimal number in quotes, or a name.
pub(crate) fn number(node: &Node, report: &mut Report<'_>) -> Option<Number> {
    let written = fields::text(node, "port", report)?;
    let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (written == "0" || !written.starts_with('0')) {
        let number = written.parse().ok();
        if number.is_none() {
            let what = format!("there is no port {written}");
            report.error(node.at, "bad-port", what, "a number from 0 to 65535");
        }
        return number.map(Number::Is);
    }
    if digits {
        let plain = written.trim_start_matches('0');
        let instead = format!("port: \"{}\"", if plain.is_empty() { "0" } else { plain });
        let what = format!("`{written}` may be read as octal");
        report.error(node.at, "bad-port", what, instead);
    } else if is_name(written) && !is_number_in_disguise(written) {
        return Some(Number::Named(written.to_ascii_lowercase()));
    } else {
        let what = format!("`{written}` is no port");
        let instead = as_range(written)
            .unwrap_or_else(|| "a plain decimal number, as in port: \"443\"".to_owned());
        report.error(node.at, "bad-port", what, instead);
    }
    None
}

/// How `22-25`, or `22:25`, is written.
fn as_range(written: &str) -> Option<String> {
    let (first, last) = written.split_once(['-', ':'])?;
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then(|| format!("port: \"{first}\", endPort: {last}"))
}

/// Reads a field that holds the name of a port, and no number.
pub(crate) fn name(node: &Node, field: &str, report: &mut Report<'_>) -> Option<String> {
    let (written, is_text) = match &node.value {
        Value::Number(written) => (written.as_str(), false),
        Value::Null | Value::Text(_) | Value::Truth(_) | Value::List(_) | Value::Map(_) => {
            (fields::text(node, field, report)?, true)
        }
    };
    if is_text && is_name(written) && !is_number_in_disguise(written) {
        return Some(written.to_ascii_lowercase());
    }
    let is_number = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
    let instead = if is_number {
        format!("tcp: {{destinationPort: {{number: {written}}}}}")
    } else {
        "1 to 15 letters, digits and single inner dashes, one of them a letter".to_owned()
    };
    report.error(node.at, "bad-port", format!("`{written}` is no name of a port"), instead);
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

/// The ports from one to `endPort`; from 0 they are all (rule 15).
pub(crate) fn range(
    first: u16,
    end_node: Option<&Node>,
    report: &mut Report<'_>,
) -> Option<(u16, u16)> {
    let Some(node) = end_node else {
        return Some(if first == 0 { (0, u16::MAX) } else { (first, first) });
    };
    let last = end(node, first, report)?;
    if first == 0 && last != 0 {
        let what = format!("port 0 is every port, so endPort {last} bounds nothing");
        report.warning(node.at, "range-from-0", what, "the first port of the range as port");
    }
    Some(if first == 0 { (0, u16::MAX) } else { (first, last) })
}

/// Reads `endPort`, the last port of a range.
pub(crate) fn end(node: &Node, first: u16, report: &mut Report<'_>) -> Option<u16> {
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
