//! Which flows there are: their addresses, ports and first bytes.
//!
//! Rule `r` has a prefix of its own and one of ten ports. Flow `f` belongs to
//! rule `7919 f mod rules`, so that few flows spread over many rules; `f / rules`
//! gives its address in the prefix and its source port. Rulesets, sockets and
//! the generator of packets compute the same, so that each finds the flows of
//! the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Ports that rules name.
pub(crate) const FIRST_PORT: u16 = 1000;
pub(crate) const PORTS: u32 = 10;
/// A port that no rule names.
pub(crate) const DENIED_PORT: u16 = 999;
/// The port that the host asks from.
pub(crate) const OWN_PORT: u16 = 2000;

/// From one flow's rule to the next one's: a prime that no number of rules is a
/// multiple of.
pub(crate) const STRIDE: u32 = 7919;
/// Addresses of a prefix that are used, and source ports.
pub(crate) const HOSTS: u32 = 62;
pub(crate) const SOURCES: u32 = 60_000;
pub(crate) const FIRST_SOURCE: u16 = 1024;

pub(crate) const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Every frame is as long as the shortest one of a cable, its check included.
pub(crate) const FRAME_BYTES: usize = 64;

/// Of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The receiver of all frames.
    pub(crate) const fn node(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0, 0, 0, 1)),
        }
    }

    /// The prefix of a rule: 64 addresses, or a network of IPv6.
    pub(crate) fn prefix(self, rule: u32) -> String {
        let first = self.base(true);
        match self {
            Self::V4 => format!("{}/26", Ipv4Addr::from(first + rule * 64)),
            Self::V6 => format!("{}/64", v6(first + rule, 0)),
        }
    }

    /// What rules are counted from: the first address of sources that rules name
    /// or do not name, or the second word of it.
    pub(crate) const fn base(self, named: bool) -> u32 {
        match (self, named) {
            (Self::V4, true) => 0x0a00_0000,
            (Self::V4, false) => 0xac10_0000,
            (Self::V6, true) => 0,
            (Self::V6, false) => 0x8000_0000,
        }
    }
}

/// Packets of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    pub(crate) family: Family,
    /// Whether rules name their sources.
    pub(crate) named: bool,
    pub(crate) rules: u32,
    /// The port that they go to; 0 for the one of the rule.
    pub(crate) port: u16,
    /// So many, drawn at random; 0 for packets that are all new.
    pub(crate) count: u32,
}

impl Flows {
    /// The other end of a flow.
    pub(crate) fn peer(&self, flow: u32) -> SocketAddr {
        let (rule, rest) = (self.rule(flow), flow / self.rules);
        let (base, host) = (self.family.base(self.named), rest % HOSTS + 1);
        let address = match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(base + rule * 64 + host)),
            Family::V6 => IpAddr::V6(v6(base + rule, host)),
        };
        let port = u16::try_from(rest / HOSTS % SOURCES).unwrap_or(0) + FIRST_SOURCE;
        SocketAddr::new(address, port)
    }

    /// The port of this host.
    pub(crate) fn port(&self, flow: u32) -> u16 {
        if self.port == 0 { rule_port(self.rule(flow)) } else { self.port }
    }

    fn rule(&self, flow: u32) -> u32 {
        let rule = u64::from(flow) * u64::from(STRIDE) % u64::from(self.rules);
        u32::try_from(rule).unwrap_or(0)
    }

    /// A frame with UDP, without source, ports and sums.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut frame = [NODE_MAC, PEER_MAC].concat();
        match self.family {
            Family::V4 => frame.extend([8, 0]),
            Family::V6 => frame.extend([0x86, 0xdd]),
        }
        frame.extend(self.header());
        let length = u8::try_from(FRAME_BYTES - frame.len()).unwrap_or(0);
        frame.extend([0, 0, 0, 0, 0, length]);
        frame.resize(FRAME_BYTES, 0);
        frame
    }

    fn header(&self) -> Vec<u8> {
        match self.family.node() {
            IpAddr::V4(node) => {
                let fixed = [0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0];
                [&fixed[..], &node.octets()].concat()
            }
            IpAddr::V6(node) => {
                let fixed = [0x60, 0, 0, 0, 0, 10, 17, 64];
                [&fixed[..], &v6(0, 0).octets(), &node.octets()].concat()
            }
        }
    }

    /// What a frame's sum is begun with, before its source and ports: for IPv4
    /// that of the header (RFC 1071), for IPv6 that of UDP (RFC 8200, 8.1).
    pub(crate) fn sum_without_source(&self) -> u32 {
        let header = self.header();
        let addresses = header.get(8..).unwrap_or_default();
        match self.family {
            Family::V4 => words(&header),
            // The length twice: in the pseudo-header and in the datagram.
            Family::V6 => words(addresses) + 17 + 10 + 10,
        }
    }
}

/// The port that a rule names.
pub(crate) fn rule_port(rule: u32) -> u16 {
    FIRST_PORT + u16::try_from(rule % PORTS).unwrap_or(0)
}

/// An address in the prefix for documentation.
fn v6(second: u32, last: u32) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(second) << 64 | u128::from(last))
}

/// The words of the bytes, added.
fn words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hostfw_scenario::packet;

    use super::*;

    fn flows(family: Family, rules: u32) -> Flows {
        Flows { family, named: true, rules, port: 0, count: 0 }
    }

    #[test]
    fn no_two_of_many_flows_are_the_same() {
        for (family, rules) in [(Family::V4, 10), (Family::V6, 1_000), (Family::V4, 100_000)] {
            let flows = flows(family, rules);
            let all = (0..200_000).map(|flow| (flows.peer(flow), flows.port(flow)));
            assert_eq!(all.collect::<HashSet<_>>().len(), 200_000, "{family:?} {rules}");
        }
    }

    #[test]
    fn a_flow_is_from_the_prefix_of_its_rule_and_to_its_port() {
        for family in Family::BOTH {
            let flows = flows(family, 1_000);
            for flow in [0, 1, 999, 1_000, 123_456] {
                let rule = flows.rule(flow);
                let prefix = family.prefix(rule);
                let (first, length) = prefix.split_once('/').expect("a prefix");
                let first: IpAddr = first.parse().expect("an address");
                let same = |one: IpAddr, bits: u32| match one {
                    IpAddr::V4(one) => u128::from(one.to_bits() >> (32 - bits)),
                    IpAddr::V6(one) => one.to_bits() >> (128 - bits),
                };
                let bits = length.parse().expect("a length");
                assert_eq!(same(flows.peer(flow).ip(), bits), same(first, bits), "{flow}");
                assert_eq!(flows.port(flow), rule_port(rule));
            }
        }
    }

    #[test]
    fn few_flows_reach_rules_far_apart() {
        let flows = flows(Family::V4, 100_000);
        let rules: HashSet<u32> = (0..1_000).map(|flow| flows.rule(flow)).collect();
        assert_eq!(rules.len(), 1_000);
        assert!(rules.iter().any(|rule| *rule > 99_000));
    }

    #[test]
    fn sums_are_those_of_whole_packets() {
        let flows = Flows { port: 4321, ..flows(Family::V6, 1_000) };
        let peer = flows.peer(70_007);
        let IpAddr::V6(source) = peer.ip() else { panic!("an address of IPv6") };
        let whole =
            packet::udp((peer.ip(), peer.port()), (Family::V6.node(), flows.port(0)), &[0, 0]);
        let octets = source.octets();
        let mut sum = flows.sum_without_source() + u32::from(peer.port()) + 4321;
        // The first word is part of what the sum begins with.
        sum += words(&octets[4..]);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let expected = [whole[46], whole[47]];
        assert_eq!((!sum as u16).to_be_bytes(), expected);
        assert_eq!(flows.frame().len(), FRAME_BYTES);
        assert_eq!(flows.frame()[14..22], whole[..8], "the fixed part of the header");
    }
}
