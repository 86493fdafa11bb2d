//! Devices: which are filtered, with what the kernel says is attached to them,
//! and which are not, with the reason.

use serde::{Deserialize, Serialize};

/// Every device of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinksReport {
    /// Devices that are to be filtered, by name.
    pub links: Vec<LinkReport>,
    /// Devices that are not, by name.
    pub unfiltered: Vec<UnfilteredLink>,
}

/// A device that is to be filtered. It is filtered when both hooks are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkReport {
    /// Name of the device.
    pub device: String,
    /// Index of the device.
    pub ifindex: u32,
    /// Where its packets start.
    pub layer: Layer,
    /// How the programs hang on it; none when nothing is attached.
    pub attachment: Option<Attachment>,
    /// The program on incoming packets, read from the kernel.
    pub ingress: Option<HookReport>,
    /// The program on outgoing packets, read from the kernel.
    pub egress: Option<HookReport>,
    /// Addresses with prefix length, such as `192.0.2.1/24`.
    pub addresses: Vec<String>,
    /// Why a hook is missing; empty when both are there.
    pub problem: String,
}

/// Where the packets of a device start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// At an Ethernet header.
    Ethernet,
    /// At an IP header: WireGuard, tun, GRE, IPIP.
    Ip,
}

/// How programs hang on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attachment {
    /// Pinned tcx links (Linux 6.6 and later).
    Tcx,
    /// Filters of a clsact qdisc.
    Clsact,
}

/// One attached program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookReport {
    /// The kernel's id of the program.
    pub program_id: u32,
    /// Whether no other program sees the packets before this one.
    pub first: bool,
}

/// A device that is not filtered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnfilteredLink {
    /// Name of the device.
    pub name: String,
    /// Why, as a lowercase fragment such as "port of bond0".
    pub why: String,
}
