//! What is decided about a packet, and why, in plain numbers: the kernel's
//! verifier and the event record both want them that way.

use core::fmt;

/// What the image answers for one peer and one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Answer {
    /// Outside the image, or its reserved verdict 0.
    Broken = 0,
    /// A rule allows.
    Allow = 1,
    /// A deny rule matches; it stays in force in audit mode.
    Deny = 2,
    /// Nothing matches and a selecting policy has default deny.
    DefaultDeny = 3,
    /// Nothing matches and every selecting policy has default deny off.
    DefaultAllow = 4,
    /// A rule allows what a proxy has to look into first.
    Redirect = 5,
}

impl Answer {
    /// From the first word of a verdict; flags in the upper bytes are ignored.
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        match word & 0xff {
            1 => Self::Allow,
            2 => Self::Deny,
            3 => Self::DefaultDeny,
            4 => Self::DefaultAllow,
            5 => Self::Redirect,
            _ => Self::Broken,
        }
    }

    /// True when the packet may pass as it is; a redirect may not.
    #[inline(always)]
    pub const fn allows(self) -> bool {
        matches!(self, Self::Allow | Self::DefaultAllow)
    }

    /// True when the packet passes on a node that may audit.
    #[inline(always)]
    pub const fn passes(self, audit: bool) -> bool {
        self.allows() || (audit && matches!(self, Self::DefaultDeny))
    }
}

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// On to the next program, or to the host.
    Pass = 0,
    /// Dropped without an answer.
    Drop = 1,
    /// Would be dropped; passes because the node audits.
    Audit = 2,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $text:literal;)+) => {
        /// Why a packet passed or did not. The names are those of metrics,
        /// events and listings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $name = $number,)+ }

        impl Reason {
            /// Every reason, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The reason of a number, as it stands in counters and events.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// No generation is loaded.
    NoPolicy = 0, "no-policy";
    /// No rule selects this host in this direction.
    NotEnforced = 1, "not-enforced";
    /// A rule allows.
    Rule = 2, "rule";
    /// Nothing matched, and every selecting policy has default deny off.
    DefaultAllow = 3, "default-allow";
    /// Not IPv4 or IPv6: ARP, LLDP, STP and others.
    NotIp = 4, "not-ip";
    /// Carries a VLAN tag: judged on the VLAN's own device.
    Tagged = 5, "tagged";
    /// Neither from nor for this host.
    Transit = 6, "transit";
    /// For a group of hosts: multicast or broadcast.
    Group = 7, "group";
    /// Neighbour discovery, multicast listener and router messages.
    Neighbour = 8, "neighbour";
    /// Answers what this host started (connection table).
    Reply = 9, "reply";
    /// Answers what this host started (the kernel's own socket).
    Socket = 10, "socket";
    /// An ICMP error about a live flow.
    Related = 11, "related";
    /// A later fragment: without its judged first one it is never delivered.
    Fragment = 12, "fragment";
    /// Answers an inbound flow that policy admitted.
    Admitted = 13, "admitted";
    /// A deny rule matches.
    ExplicitDeny = 32, "explicit-deny";
    /// No rule allows it.
    DefaultDeny = 33, "default-deny";
    /// A header is cut short or contradicts itself.
    Malformed = 34, "malformed";
    /// More extension headers than are followed, or "no next header".
    Extensions = 35, "extension-headers";
    /// IPv6 routing header of type 0 (RFC 5095).
    RoutingHeader = 36, "routing-header";
    /// An ICMPv6 type that no host should receive (RFC 4890 section 4.4).
    ForbiddenIcmp = 37, "forbidden-icmp";
    /// Neighbour discovery that crossed a router (RFC 4861 section 7.1).
    HopLimit = 38, "hop-limit";
    /// A fragment that would rewrite the TCP header (RFC 3128).
    TinyFragment = 39, "tiny-fragment";
    /// The image gave no answer: a defect, reported loudly.
    BrokenImage = 40, "broken-image";
    /// Policy wants a proxy to look into it, and there is none.
    NoProxy = 41, "no-proxy";
    /// The sender chose the route: an IPv4 option (RFC 7126 section 4.3).
    SourceRoute = 42, "source-route";
    /// IPv6 from outside that claims an address of this host as its sender.
    Spoofed = 43, "spoofed";
}

/// Slots of the reason counters for one direction.
pub const REASON_SLOTS: u32 = 64;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A decided packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What happens.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The deciding rule's id, or [`crate::image::NO_RULE`].
    pub rule: u32,
    /// Index of the image's verdict, 0 where the image was not asked.
    pub verdict: u32,
    /// Whether an observer wants to hear of it.
    pub report: Report,
}

/// Which events a verdict may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Report {
    /// Counted only.
    Nothing = 0,
    /// May be the first packet of an allowed flow.
    First = 1,
    /// Dropped, or would be.
    Denied = 2,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, string::ToString};

    use super::*;

    #[test]
    fn a_reason_is_shown_by_its_stable_name_and_found_by_its_number() {
        assert_eq!(Reason::DefaultDeny.to_string(), "default-deny");
        for reason in Reason::ALL {
            assert_eq!(reason.to_string(), reason.name());
        }
        let found: BTreeSet<Reason> = (0..=u8::MAX).filter_map(Reason::from_number).collect();
        assert_eq!(found, Reason::ALL.iter().copied().collect());
        let names: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
