//! A protocol with its port or type as people type it: `tcp/443`, `icmpv6/128`,
//! `ping`, `vrrp`, `protocol/112`. It knows no policy.

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

/// Why a text names no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: write {instead}")]
pub struct WhatError {
    /// What is wrong with it.
    pub what: String,
    /// What to type instead.
    pub instead: String,
}

impl FromStr for What {
    type Err = WhatError;

    fn from_str(text: &str) -> Result<Self, WhatError> {
        let lower = text.to_ascii_lowercase();
        if lower == "ping" {
            return Ok(Self::Ping);
        }
        let (name, port) = match lower.split_once('/') {
            Some((name, port)) => (name, Some(port)),
            None => (lower.as_str(), None),
        };
        if name == BY_NUMBER {
            return numbered(port);
        }
        let Some(number) = protocol_number(name) else { return Err(unknown(name, port)) };
        let Some(Form { noun, highest, example }) = form(number) else {
            let instead = name.to_owned();
            let has_none = || WhatError { what: format!("`{name}` has no ports"), instead };
            return port.is_none().then_some(Self::Protocol(number, None)).ok_or_else(has_none);
        };
        let instead = format!("{name}/{example}");
        let Some(port) = port else {
            return Err(WhatError { what: format!("`{name}` needs its {noun}"), instead });
        };
        let known: Option<u16> = port.parse().ok().filter(|port| *port <= highest);
        let what = || format!("a {noun} is a number from 0 to {highest}, not `{port}`");
        let port = known.ok_or_else(|| WhatError { what: what(), instead })?;
        Ok(Self::Protocol(number, Some(port)))
    }
}

/// Before the number of a protocol. A number alone is a port to most people.
const BY_NUMBER: &str = "protocol";

/// What stands behind the name of a protocol.
struct Form {
    noun: &'static str,
    highest: u16,
    example: u16,
}

/// `None` for protocols that are named alone.
fn form(number: u8) -> Option<Form> {
    let (noun, highest, example) = match number {
        TCP => ("port", u16::MAX, 22),
        UDP => ("port", u16::MAX, 53),
        SCTP => ("port", u16::MAX, 38_412),
        ICMP => ("type", 255, 8),
        ICMPV6 => ("type", 255, 128),
        _ => return None,
    };
    Some(Form { noun, highest, example })
}

/// `protocol/112`.
fn numbered(number: Option<&str>) -> Result<What, WhatError> {
    let number = number.unwrap_or_default();
    let Ok(number) = number.parse() else {
        let what = format!("a protocol is a number from 0 to 255, not `{number}`");
        return Err(WhatError { what, instead: format!("{BY_NUMBER}/112") });
    };
    let Some(Form { noun, example, .. }) = form(number) else {
        return Ok(What::Protocol(number, None));
    };
    let known = What::Protocol(number, Some(example));
    let what = format!("protocol {number} needs its {noun}");
    Err(WhatError { what, instead: known.to_string() })
}

/// What to say of a name that no protocol has.
fn unknown(name: &str, port: Option<&str>) -> WhatError {
    let turned = port.filter(|port| protocol_number(port).is_some_and(|it| form(it).is_some()));
    match (name.parse::<u16>(), port) {
        (Ok(number), None) => {
            let by_number = u8::try_from(number)
                .map(|number| format!(", or {BY_NUMBER}/{number} for the IP protocol {number}"));
            WhatError {
                what: format!("`{number}` lacks its protocol"),
                instead: format!("tcp/{number}{}", by_number.unwrap_or_default()),
            }
        }
        (Ok(number), Some(port)) if turned.is_some() => WhatError {
            what: "the protocol comes first".to_owned(),
            instead: format!("{port}/{number}"),
        },
        _ => WhatError {
            what: format!("`{name}` is no protocol"),
            instead: format!(
                "tcp/22, udp/53, icmp/8, ping, or a protocol such as vrrp or {BY_NUMBER}/112"
            ),
        },
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
        _ => return None,
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
                    number => WITHOUT_PORTS.iter().find(|(_, known)| *known == number).map_or_else(
                        || format!("{BY_NUMBER}/{number}"),
                        |(name, _)| name.to_ascii_lowercase(),
                    ),
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
        assert_eq!("protocol/112".parse(), Ok(What::Protocol(112, None)));
        assert_eq!("ping".parse(), Ok(What::Ping));
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for text in ["tcp/22", "icmpv6/128", "vrrp", "protocol/253", "ping"] {
            assert_eq!(text.parse::<What>().expect("it is right").to_string(), text);
        }
    }

    #[test]
    fn a_wrong_packet_is_answered_with_the_right_form() {
        let complaint = |text: &str| text.parse::<What>().expect_err("it is wrong").to_string();
        assert_eq!(complaint("tcp"), "`tcp` needs its port: write tcp/22");
        let said = "a type is a number from 0 to 255, not `256`: write icmp/8";
        assert_eq!(complaint("icmp/256"), said);
        let said = "a port is a number from 0 to 65535, not `dns`: write udp/53";
        assert_eq!(complaint("udp/dns"), said);
        assert_eq!(complaint("gre/1"), "`gre` has no ports: write gre");
        assert_eq!(complaint("22/tcp"), "the protocol comes first: write tcp/22");
        let said = "`ssh` is no protocol: write tcp/22, udp/53, icmp/8, ping, or a protocol \
                    such as vrrp or protocol/112";
        assert_eq!(complaint("ssh"), said);
        assert_eq!(complaint("22/gre"), said.replace("ssh", "22"));
    }

    #[test]
    fn a_number_alone_is_no_packet() {
        let complaint = |text: &str| text.parse::<What>().expect_err("it is wrong").to_string();
        let said = "`22` lacks its protocol: write tcp/22, or protocol/22 for the IP protocol 22";
        assert_eq!(complaint("22"), said);
        assert_eq!(complaint("8080"), "`8080` lacks its protocol: write tcp/8080");
        assert_eq!(complaint("protocol/6"), "protocol 6 needs its port: write tcp/22");
        assert_eq!(complaint("protocol/58"), "protocol 58 needs its type: write icmpv6/128");
        for wrong in ["protocol", "protocol/256", "protocol/vrrp"] {
            let said = complaint(wrong);
            assert!(said.starts_with("a protocol is a number from 0 to 255, not `"), "{said}");
        }
    }
}
