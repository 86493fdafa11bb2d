//! Lists of services that cover nearly everything, told by what they leave out.
//! It knows no policies.

use hostfw_policy::ports::{ICMP, ICMPV6, SCTP, Service, TCP, UDP};

/// The services in the order in which people look for them: those with ports,
/// then ICMP, then the other protocols by number.
pub(crate) fn in_order(services: &[Service]) -> Vec<Service> {
    let mut sorted = services.to_vec();
    let usual = |one: &Service| USUAL.iter().position(|number| *number == one.protocol);
    sorted.sort_by_key(|one| (usual(one).unwrap_or(USUAL.len()), *one));
    sorted
}

const USUAL: [u8; 5] = [TCP, UDP, SCTP, ICMP, ICMPV6];

/// Everything that the services leave out, in the same order. They are
/// ascending and do not overlap.
pub(crate) fn left_out(services: &[Service]) -> Vec<Service> {
    let mut left = Vec::new();
    for protocol in 0..=u8::MAX {
        let end = end_of(protocol);
        let mut next = 0;
        for service in services.iter().filter(|one| one.protocol == protocol) {
            let first = u32::from(service.first);
            left.extend(between(protocol, next, first));
            next = u32::from(service.last) + 1;
        }
        left.extend(between(protocol, next, end));
    }
    in_order(&left)
}

/// The number behind the last port or type; a protocol with neither has one
/// number, 0.
fn end_of(protocol: u8) -> u32 {
    match protocol {
        TCP | UDP | SCTP => 1 << 16,
        ICMP | ICMPV6 => 1 << 8,
        _ => 1,
    }
}

fn between(protocol: u8, first: u32, end: u32) -> Option<Service> {
    let last = end.checked_sub(1).filter(|last| first <= *last)?;
    let [first, last] = [first, last].map(u16::try_from);
    Some(Service { protocol, first: first.ok()?, last: last.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(protocol: u8, first: u16, last: u16) -> Service {
        Service { protocol, first, last }
    }

    #[test]
    fn what_is_left_out_of_nothing_is_everything_with_the_usual_protocols_first() {
        let all = left_out(&[]);
        assert_eq!(all.len(), 256);
        let first = [
            service(TCP, 0, 65_535),
            service(UDP, 0, 65_535),
            service(SCTP, 0, 65_535),
            service(ICMP, 0, 255),
            service(ICMPV6, 0, 255),
            service(0, 0, 0),
        ];
        assert_eq!(all[..6], first);
        let mut ascending = all.clone();
        ascending.sort_unstable();
        assert_eq!(left_out(&ascending), []);
        assert_eq!(in_order(&ascending), all);
    }

    #[test]
    fn holes_are_found_at_both_ends_and_between() {
        let mut most = left_out(&[service(ICMP, 8, 8), service(TCP, 22, 22), service(UDP, 0, 67)]);
        most.retain(|one| *one != service(47, 0, 0) && *one != service(UDP, 68, 65_535));
        most.push(service(UDP, 69, 65_534));
        most.sort_unstable();
        let holes = [
            service(TCP, 22, 22),
            service(UDP, 0, 68),
            service(UDP, 65_535, 65_535),
            service(ICMP, 8, 8),
            service(47, 0, 0),
        ];
        assert_eq!(left_out(&most), holes);
    }
}
