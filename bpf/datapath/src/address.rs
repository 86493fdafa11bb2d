//! Addresses and numbers as they stand in packets: byte order is part of the
//! type, so no comparison can mix the two.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A 16-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be16(u16);

impl Be16 {
    /// The number in host order.
    #[inline(always)]
    pub const fn host(self) -> u16 {
        u16::from_be(self.0)
    }
    /// A host-order number as it stands in a packet.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be())
    }
}

/// A 32-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be32(u32);

impl Be32 {
    /// The number in host order.
    #[inline(always)]
    pub const fn host(self) -> u32 {
        u32::from_be(self.0)
    }
    /// A host-order number as it stands in a packet.
    #[inline(always)]
    pub const fn new(host: u32) -> Self {
        Self(host.to_be())
    }
}

/// A 64-bit number in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Be64(u64);

impl Be64 {
    /// The number in host order.
    #[inline(always)]
    pub const fn host(self) -> u64 {
        u64::from_be(self.0)
    }
}

/// An address of either family as one 128-bit number in host order, most
/// significant half first. IPv4 stands in its mapped form `::ffff:a.b.c.d`
/// (RFC 4291 section 2.5.5.2), so one key serves both families.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Address {
    /// Bits 127 to 64.
    pub high: u64,
    /// Bits 63 to 0.
    pub low: u64,
}

/// Upper 96 bits of a mapped IPv4 address, as they stand in [`Address::low`].
const MAPPED: u64 = 0xffff_0000_0000;

impl Address {
    /// The IPv4 address given in host order.
    #[inline(always)]
    pub const fn v4(host: u32) -> Self {
        #[expect(clippy::as_conversions, reason = "widening in a const fn")]
        Self { high: 0, low: MAPPED | host as u64 }
    }

    /// Four words of an IPv6 address in host order, most significant first.
    #[inline(always)]
    pub const fn v6(words: [u32; 4]) -> Self {
        #[expect(clippy::as_conversions, reason = "widening in a const fn")]
        Self {
            high: ((words[0] as u64) << 32) | words[1] as u64,
            low: ((words[2] as u64) << 32) | words[3] as u64,
        }
    }

    /// True for a mapped IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.high == 0 && self.low >> 32 == 0xffff
    }

    /// The lower 32 bits: the IPv4 address, where it is one.
    #[inline(always)]
    pub const fn low32(&self) -> u32 {
        #[expect(clippy::as_conversions, reason = "the upper half is cut on purpose")]
        {
            self.low as u32
        }
    }

    /// True for a sender for whom routers forward: not a group, and not an IPv6
    /// link-local address (RFC 4291 section 2.5.6).
    #[inline(always)]
    pub const fn is_forwarded_for(&self) -> bool {
        !self.is_group() && self.high >> 54 != 0xfe80 >> 6
    }

    /// IPv4 224.0.0.0/4 or 255.255.255.255, IPv6 ff00::/8: never one host.
    #[inline(always)]
    pub const fn is_group(&self) -> bool {
        if self.is_v4() {
            let address = self.low32();
            address >> 28 == 0xe || address == u32::MAX
        } else {
            self.high >> 56 == 0xff
        }
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(ip: core::net::IpAddr) -> Self {
        match ip {
            core::net::IpAddr::V4(v4) => Self::v4(u32::from(v4)),
            core::net::IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<core::net::Ipv6Addr> for Address {
    fn from(ip: core::net::Ipv6Addr) -> Self {
        let bits = u128::from(ip);
        #[expect(clippy::as_conversions, reason = "both halves are cut on purpose")]
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        if address.is_v4() {
            Self::V4(core::net::Ipv4Addr::from(address.low32()))
        } else {
            let bits = (u128::from(address.high) << 64) | u128::from(address.low);
            Self::V6(core::net::Ipv6Addr::from(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_address_comes_back_as_it_was_and_of_its_family() {
        for text in ["192.0.2.7", "255.255.255.255", "0.0.0.0"] {
            let ip: Ipv4Addr = text.parse().expect("an address");
            let address = Address::from(IpAddr::V4(ip));
            assert!(address.is_v4());
            assert_eq!(address, Address::v4(u32::from(ip)));
            assert_eq!(IpAddr::from(address), IpAddr::V4(ip));
        }
        // Each differs from a mapped one in one half only.
        for text in ["2001:db8::7", "::", "::1", "::fffe:c000:207", "1::ffff:c000:207"] {
            let ip: Ipv6Addr = text.parse().expect("an address");
            let address = Address::from(IpAddr::V6(ip));
            assert!(!address.is_v4(), "{text}");
            assert_eq!(IpAddr::from(address), IpAddr::V6(ip));
        }
    }
}
