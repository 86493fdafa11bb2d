//! A network device as the kernel lists it. Facts only: which of them matter is
//! decided in `device`.

use std::net::IpAddr;

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// Its name; it may change while the index stays.
    pub name: String,
    /// What `ip -d link` calls its kind, such as `vlan`; none for hardware.
    pub kind: Option<String>,
    /// Link-layer type, one of the kernel's `ARPHRD_` numbers.
    pub link_layer: u16,
    /// True for `lo`.
    pub loopback: bool,
    /// True when the device is administratively up.
    pub up: bool,
    /// Index of the device that this one is a port of.
    pub master: Option<u32>,
    /// Addresses of this host on it.
    pub addresses: Vec<LinkAddress>,
    /// UDP port on which a tunnel device listens.
    pub tunnel_port: Option<u16>,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix of its network.
    pub prefix_length: u8,
}

impl LinkAddress {
    /// True for 169.254.0.0/16 and fe80::/10: the kernel and zero-configuration
    /// services give those to any device, so they say nothing about its use.
    pub(crate) fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
    }
}
