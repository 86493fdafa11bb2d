//! A rule in one line, in the words of the policy. It is for people; nothing
//! decides by it.

use hostfw_datapath::Direction;

use crate::{
    cidr::{PrefixSource, PrefixTerm},
    icmp::{IPV4_TYPES, IPV6_TYPES},
    policy::{Action, Peers, PolicyRule},
    ports::{Entry, ICMP, ICMPV6, NamedPort, SCTP, Service, Services, TCP, UDP, WITHOUT_PORTS},
    selector::{Operator, Requirement, Selector},
    service_ref::{ServiceTerm, WhichServices},
};

/// More items of a list than these are only counted.
const SHOWN: usize = 4;

/// The line of a rule.
pub(crate) fn of(rule: &PolicyRule) -> String {
    let verb = match rule.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Pass => "pass",
    };
    let side = match rule.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let (whom, what) = (peers_in_words(&rule.peers), services_in_words(&rule.services));
    format!("{verb} {side} {whom}: {what}")
}

/// Whom a rule names.
pub(crate) fn peers_in_words(peers: &Peers) -> String {
    match peers {
        Peers::Every => "everyone".to_owned(),
        Peers::Nobody => "nobody".to_owned(),
        Peers::Prefixes(terms) => joined(terms.iter().map(prefix)),
        Peers::Entities(entities) => joined(entities.iter().map(|one| one.name().to_owned())),
        Peers::Endpoints(selectors) => {
            format!("endpoints {}", joined(selectors.iter().map(selector)))
        }
        Peers::Nodes(selectors) => format!("nodes {}", joined(selectors.iter().map(selector))),
        Peers::Names(names) => joined(names.iter().map(|one| one.as_written().to_owned())),
        Peers::Services(services) => format!("services {}", joined(services.iter().map(behind))),
        Peers::AnyOf(parts) => joined(parts.iter().map(peers_in_words)),
    }
}

fn behind(term: &ServiceTerm) -> String {
    match &term.which {
        WhichServices::Named(namespace, name) => format!("{namespace}/{name}"),
        WhichServices::Selected(None, wanted) => selector(wanted),
        WhichServices::Selected(Some(namespace), wanted) => {
            format!("{} in {namespace}", selector(wanted))
        }
    }
}

fn prefix(term: &PrefixTerm) -> String {
    let from = match &term.from {
        PrefixSource::Cidr(cidr) => cidr.to_string(),
        PrefixSource::Group(name) => format!("group {name}"),
        PrefixSource::Groups(groups) => format!("groups {}", selector(groups)),
    };
    if term.except.is_empty() {
        from
    } else {
        format!("{from} except {}", joined(term.except.iter().map(ToString::to_string)))
    }
}

/// The labels that a selector asks for.
pub(crate) fn selector_in_words(selector: &Selector) -> String {
    self::selector(selector)
}

fn selector(selector: &Selector) -> String {
    let written = selector.requirements.iter().filter(|one| !one.is_automatic());
    let terms: Vec<_> = written.map(requirement).collect();
    format!("{{{}}}", terms.join(", "))
}

fn requirement(requirement: &Requirement) -> String {
    let source = requirement.source.as_ref().map(|source| format!("{source}:"));
    let key = format!("{}{}", source.unwrap_or_default(), requirement.key);
    match &requirement.operator {
        Operator::In(values) if values.len() == 1 => format!("{key}={}", values.concat()),
        Operator::In(values) => format!("{key} in ({})", values.join(", ")),
        Operator::NotIn(values) => format!("{key} not in ({})", values.join(", ")),
        Operator::Exists => format!("{key} exists"),
        Operator::DoesNotExist => format!("no {key}"),
    }
}

/// What a rule is about.
pub(crate) fn services_in_words(services: &Services) -> String {
    let Services::Only(entries) = services else { return "every service".to_owned() };
    let shown: Vec<String> = entries.iter().flat_map(entry).collect();
    if shown.is_empty() { "no service".to_owned() } else { joined(shown.into_iter()) }
}

fn entry(entry: &Entry) -> Vec<String> {
    let mut shown = Vec::new();
    let mut rest = entry.services.as_slice();
    while let Some((first, after)) = rest.split_first() {
        // `ANY` was read as the three protocols with ports.
        let any = [TCP, UDP, SCTP].map(|protocol| Service { protocol, ..*first });
        if let Some(behind) = rest.strip_prefix(&any[..]) {
            shown.push(format!("ANY {}", range(first)));
            rest = behind;
        } else {
            shown.push(service(first));
            rest = after;
        }
    }
    shown.extend(entry.named.iter().map(named));
    if let (Some(last), Some(l7)) = (shown.last_mut(), &entry.l7) {
        *last = format!("{last} ({})", l7.shown());
    }
    shown
}

fn named(port: &NamedPort) -> String {
    let protocol = match port.protocols {
        [TCP] => "TCP",
        [UDP] => "UDP",
        [SCTP] => "SCTP",
        _ => "ANY",
    };
    match port.end {
        Some(end) => format!("{protocol} {}-{end}", port.name),
        None => format!("{protocol} {}", port.name),
    }
}

/// One service in the words of listings.
pub fn service(service: &Service) -> String {
    match service.protocol {
        TCP => format!("TCP {}", range(service)),
        UDP => format!("UDP {}", range(service)),
        SCTP => format!("SCTP {}", range(service)),
        ICMP => icmp("ICMP", IPV4_TYPES, service),
        ICMPV6 => icmp("ICMPv6", IPV6_TYPES, service),
        number => WITHOUT_PORTS
            .iter()
            .find(|(_, known)| *known == number)
            .map_or_else(|| format!("protocol {number}"), |(name, _)| (*name).to_owned()),
    }
}

fn icmp(protocol: &str, names: &[(&str, u8)], service: &Service) -> String {
    let number = match (service.first, service.last) {
        (0, 255..) => return format!("{protocol} every type"),
        (first, last) if first == last => first,
        (first, last) => return format!("{protocol} {first}-{last}"),
    };
    // Of two names for one type the later is the usual one.
    match names.iter().rev().find(|(_, known)| u16::from(*known) == number) {
        Some((name, _)) => format!("{protocol} {name}"),
        None => format!("{protocol} {number}"),
    }
}

fn range(service: &Service) -> String {
    match (service.first, service.last) {
        (0, u16::MAX) => "every port".to_owned(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_icmp_are_named_one_by_one_and_counted_as_ranges() {
        let words = |protocol, first, last| service(&Service { protocol, first, last });
        assert_eq!(words(ICMP, 8, 8), "ICMP EchoRequest");
        assert_eq!(words(ICMP, 7, 7), "ICMP 7");
        assert_eq!(words(ICMP, 0, 7), "ICMP 0-7");
        assert_eq!(words(ICMPV6, 0, 255), "ICMPv6 every type");
    }
}
