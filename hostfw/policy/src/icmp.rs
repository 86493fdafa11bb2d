//! ICMP types as policies name them (IANA's registries, the names Cilium gives
//! them) and the `icmps` field. It knows no packets.

use crate::{
    complaint::Report,
    fields::{self, Fields},
    ports::{ICMP, ICMPV6, Service},
    text::{Node, Value},
};

/// Names of ICMPv4 types; they are case-sensitive.
pub const IPV4_TYPES: &[(&str, u8)] = &[
    ("EchoReply", 0),
    ("DestinationUnreachable", 3),
    ("Redirect", 5),
    ("Echo", 8),
    ("EchoRequest", 8),
    ("RouterAdvertisement", 9),
    ("RouterSelection", 10),
    ("TimeExceeded", 11),
    ("ParameterProblem", 12),
    ("Timestamp", 13),
    ("TimestampReply", 14),
    ("Photuris", 40),
    ("ExtendedEchoRequest", 42),
    ("ExtendedEchoReply", 43),
];

/// Names of ICMPv6 types; they are case-sensitive.
pub const IPV6_TYPES: &[(&str, u8)] = &[
    ("DestinationUnreachable", 1),
    ("PacketTooBig", 2),
    ("TimeExceeded", 3),
    ("ParameterProblem", 4),
    ("EchoRequest", 128),
    ("EchoReply", 129),
    ("MulticastListenerQuery", 130),
    ("MulticastListenerReport", 131),
    ("MulticastListenerDone", 132),
    ("RouterSolicitation", 133),
    ("RouterAdvertisement", 134),
    ("NeighborSolicitation", 135),
    ("NeighborAdvertisement", 136),
    ("RedirectMessage", 137),
    ("RouterRenumbering", 138),
    ("ICMPNodeInformationQuery", 139),
    ("ICMPNodeInformationResponse", 140),
    ("InverseNeighborDiscoverySolicitation", 141),
    ("InverseNeighborDiscoveryAdvertisement", 142),
    ("HomeAgentAddressDiscoveryRequest", 144),
    ("HomeAgentAddressDiscoveryReply", 145),
    ("MobilePrefixSolicitation", 146),
    ("MobilePrefixAdvertisement", 147),
    ("DuplicateAddressRequestCodeSuffix", 157),
    ("DuplicateAddressConfirmationCodeSuffix", 158),
    ("ExtendedEchoRequest", 160),
    ("ExtendedEchoReply", 161),
];

/// Fields that one entry of `icmps` may hold.
const MAX_FIELDS: usize = 40;

/// Reads `icmps`: a list of entries with `fields`.
pub fn read_list(node: &Node, report: &mut Report<'_>) -> Vec<Service> {
    let mut services = Vec::new();
    for item in fields::list(node, "icmps", report).unwrap_or_default() {
        let Some(mut entry) = Fields::new(item, "an entry of `icmps`", report) else { continue };
        let list = entry.take("fields");
        entry.finish(report, |unknown| {
            ["type", "family"]
                .contains(&unknown)
                .then(|| format!("fields: [{{{unknown}: ...}}], one level deeper"))
        });
        let Some(list) = list else { continue };
        let items = fields::list(list, "fields", report).unwrap_or_default();
        if items.len() > MAX_FIELDS {
            let what =
                format!("{} ICMP types in one entry; {MAX_FIELDS} are possible", items.len());
            report.error(list.at, "too-many", what, "several entries");
        }
        services.extend(items.iter().filter_map(|item| field(item, report)));
    }
    services
}

fn field(node: &Node, report: &mut Report<'_>) -> Option<Service> {
    let mut fields = Fields::new(node, "an ICMP field", report)?;
    let family_node = fields.take("family");
    let type_node = fields.need("type", report);
    fields.finish(report, |unknown| {
        (unknown == "code").then(|| "remove it: the code is not matched".to_owned())
    });
    let family = match family_node {
        None => "IPv4",
        Some(node) => fields::text(node, "family", report)?,
    };
    let (protocol, names) = match family {
        "IPv4" => (ICMP, IPV4_TYPES),
        "IPv6" => (ICMPV6, IPV6_TYPES),
        _ => {
            let what = format!("there is no family `{family}`");
            report.error(family_node.unwrap_or(node).at, "bad-icmp", what, "IPv4 or IPv6");
            return None;
        }
    };
    let type_node = type_node?;
    let found = match &type_node.value {
        // A type is a number or a name, so here a number needs no quotes.
        Value::Number(written) | Value::Text(written) => number(written)
            .or_else(|| names.iter().find(|(name, _)| name == written).map(|(_, number)| *number))
            .ok_or(written.as_str()),
        Value::Null | Value::Truth(_) | Value::List(_) | Value::Map(_) => Err(type_node.kind()),
    };
    match found {
        Ok(number) => Some(Service::icmp(protocol, number)),
        Err(written) => {
            let what = format!("there is no ICMP type `{written}` of {family}");
            let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            let instead = fields::nearest(written, &known)
                .unwrap_or("a number from 0 to 255 or a name such as EchoRequest");
            report.error(type_node.at, "bad-icmp", what, instead);
            None
        }
    }
}

fn number(written: &str) -> Option<u8> {
    let plain = written.bytes().all(|byte| byte.is_ascii_digit())
        && (written == "0" || !written.starts_with('0'));
    if plain { written.parse().ok() } else { None }
}
