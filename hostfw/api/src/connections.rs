//! The connection table: what this host started, and what it admitted where
//! replies need it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Entries of the connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsReport {
    /// In the order of protocol, local end, remote end.
    pub connections: Vec<Connection>,
}

/// One entry. A packet that a rule allows needs none, so an established
/// inbound connection may be missing here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Number of the IP protocol: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6.
    pub protocol: u8,
    /// Address of this host, or of what it masquerades for.
    pub local: IpAddr,
    /// Port; the identifier of an ICMP echo; 0 for protocols without ports.
    pub local_port: u16,
    /// Address of the other end.
    pub remote: IpAddr,
    /// Port; 0 for protocols without ports.
    pub remote_port: u16,
    /// Seconds since the entry was made; none when it is not known.
    pub age_s: Option<u64>,
    /// Seconds since the last packet that was written down; entries are
    /// refreshed lazily, so the real figure may be a little smaller.
    pub idle_s: u64,
    /// The generation that admitted it.
    pub generation: u32,
    /// Which end sent the first packet.
    pub opened_by: OpenedBy,
}

/// Which end sent the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenedBy {
    /// This host.
    Host,
    /// The other end, admitted by a rule.
    Peer,
}
