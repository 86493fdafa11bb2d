//! A protocol with its port or type as people type it: `tcp/443`, `icmpv6/128`,
//! `ping`, `vrrp`. It knows no policy.

use std::{net::IpAddr, str::FromStr};

use crate::ports::{ICMP, ICMPV6, SCTP, TCP, UDP, WITHOUT_PORTS};

/// Protocol and port of a packet as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An echo request of the peer's address family.
    Ping,
    /// Protocol number, and its port or ICMP type where it has one.
    Protocol(u8, Option<u16>),
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        if lower == "ping" {
            return Ok(Self::Ping);
        }
        let (name, port) = match lower.split_once('/') {
            Some((name, port)) => (name, Some(port)),
            None => (lower.as_str(), None),
        };
        let number = protocol_number(name).ok_or_else(|| {
            format!("unknown protocol `{name}`: write tcp, udp, sctp, icmp, icmpv6 or a number")
        })?;
        let (noun, highest) = match number {
            TCP | UDP | SCTP => ("port", u16::MAX),
            ICMP | ICMPV6 => ("type", 255),
            _ if port.is_some() => return Err(format!("`{name}` has no ports: write `{name}`")),
            _ => return Ok(Self::Protocol(number, None)),
        };
        let example = if noun == "port" { 22 } else { 8 };
        let port = port.ok_or_else(|| format!("write {name} with its {noun}: {name}/{example}"))?;
        let port: u16 = port
            .parse()
            .ok()
            .filter(|port| *port <= highest)
            .ok_or_else(|| format!("a {noun} is a number from 0 to {highest}, not `{port}`"))?;
        Ok(Self::Protocol(number, Some(port)))
    }
}

fn protocol_number(name: &str) -> Option<u8> {
    let number = match name {
        "icmp" | "icmpv4" => 1,
        "igmp" => 2,
        "ipip" => 4,
        "tcp" => 6,
        "udp" => 17,
        "ipv6" => 41,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" => 58,
        "ospf" => 89,
        "vrrp" => 112,
        "sctp" => 132,
        _ => return name.parse().ok(),
    };
    Some(number)
}

impl What {
    /// The protocol number, and the port or type where it has one, towards a
    /// peer of a family.
    pub fn towards(self, is_v4: bool) -> (u8, u16) {
        match self {
            Self::Ping if is_v4 => (ICMP, 8),
            Self::Ping => (ICMPV6, 128),
            Self::Protocol(protocol, port) => (protocol, port.unwrap_or(0)),
        }
    }

    /// Whether both ends can speak it.
    pub fn fits(self, address: &IpAddr) -> bool {
        match self {
            Self::Protocol(ICMP, _) => address.is_ipv4(),
            Self::Protocol(ICMPV6, _) => address.is_ipv6(),
            Self::Ping | Self::Protocol(..) => true,
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ping => f.write_str("ping"),
            Self::Protocol(protocol, port) => {
                let name = match *protocol {
                    TCP => "tcp".to_owned(),
                    UDP => "udp".to_owned(),
                    SCTP => "sctp".to_owned(),
                    ICMP => "icmp".to_owned(),
                    ICMPV6 => "icmpv6".to_owned(),
                    number => WITHOUT_PORTS
                        .iter()
                        .find(|(_, known)| *known == number)
                        .map_or_else(|| number.to_string(), |(name, _)| name.to_ascii_lowercase()),
                };
                match port {
                    Some(port) => write!(f, "{name}/{port}"),
                    None => f.write_str(&name),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_typed_as_protocol_and_port() {
        assert_eq!("tcp/22".parse(), Ok(What::Protocol(6, Some(22))));
        assert_eq!("ICMPv6/128".parse(), Ok(What::Protocol(58, Some(128))));
        assert_eq!("vrrp".parse(), Ok(What::Protocol(112, None)));
        assert_eq!("112".parse(), Ok(What::Protocol(112, None)));
        assert_eq!("ping".parse(), Ok(What::Ping));
    }

    #[test]
    fn a_wrong_packet_is_answered_with_the_right_form() {
        let complaint = |text: &str| text.parse::<What>().expect_err("it is wrong");
        assert_eq!(complaint("tcp"), "write tcp with its port: tcp/22");
        assert_eq!(complaint("icmp/256"), "a type is a number from 0 to 255, not `256`");
        assert_eq!(complaint("udp/dns"), "a port is a number from 0 to 65535, not `dns`");
        assert_eq!(complaint("gre/1"), "`gre` has no ports: write `gre`");
        assert!(complaint("ssh").starts_with("unknown protocol `ssh`"));
    }
}
