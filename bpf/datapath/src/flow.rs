//! A flow as this host sees it, and what the connection tables keep of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use crate::{
    Address,
    icmp::Kind,
    judge::Direction,
    parse::{Network, Upper, protocol},
};

/// Both ends of a flow, from the host's side. For ICMP echo the identifier
/// stands in the place of the local port; other protocols have no ports.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct FlowKey {
    /// The host's address.
    pub local: Address,
    /// The other end.
    pub remote: Address,
    /// The host's port.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
    /// Protocol number.
    pub protocol: u8,
    /// Zero: the key has no padding.
    pub zero: [u8; 3],
}

// Keys are made of larger numbers, too, whose lower bytes stand first.
const _: () = assert!(cfg!(target_endian = "little"), "machines are little-endian");

impl FlowKey {
    /// The flow of a packet for this host.
    #[inline(always)]
    pub fn received(network: &Network, upper: &Upper) -> Self {
        Self::new(network.destination, network.source, upper, upper.port, upper.source_port)
    }

    /// The flow of a packet from this host.
    #[inline(always)]
    pub fn sent(network: &Network, upper: &Upper) -> Self {
        Self::new(network.source, network.destination, upper, upper.source_port, upper.port)
    }

    #[inline(always)]
    fn new(
        local: Address,
        remote: Address,
        upper: &Upper,
        local_port: u16,
        remote_port: u16,
    ) -> Self {
        // Protocols without ports have none in `upper` either.
        let (local_port, remote_port) = match (upper.kind, upper.protocol) {
            (Kind::EchoRequest | Kind::EchoReply, _) => (upper.source_port, 0),
            (_, protocol::ICMP | protocol::ICMPV6) => (0, 0),
            _ => (local_port, remote_port),
        };
        // Three single bytes of zero would be written by a call.
        let [protocol, zero @ ..] = u32::from(upper.protocol).to_le_bytes();
        Self { local, remote, local_port, remote_port, protocol, zero }
    }

    /// The flow of a plain packet, which has ports, for this host or from it: the
    /// same as the others give. Written as numbers of 64 bits: who reads a word of
    /// it at once, as the kernel's hash does, would wait until two stores of a half
    /// each are done. Verifiers before 6.2 would walk a quarter further if all keys
    /// were made so.
    #[inline(always)]
    pub(crate) fn plain(direction: Direction, network: &Network, upper: &Upper) -> Self {
        let Network { source, destination, .. } = *network;
        let (local, remote, local_port, remote_port) = match direction {
            Direction::Ingress => (destination, source, upper.port, upper.source_port),
            Direction::Egress => (source, destination, upper.source_port, upper.port),
        };
        let ports = u64::from(local_port) | u64::from(remote_port) << 16;
        let tail = ports | u64::from(upper.protocol) << 32;
        transmute!([local.high, local.low, remote.high, remote.low, tail])
    }
}

/// What a connection table keeps of a flow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlowEntry {
    /// Generation that last admitted the flow.
    pub generation: u32,
    /// When it was last seen, in the clock of [`crate::Tables::now_s`]; 0 in
    /// [`FlowEntry::NONE`] only.
    pub last_s: u32,
    /// When it was first seen, same clock.
    pub first_s: u32,
    /// [`FORWARDED`], [`KEPT`] or 0.
    pub flags: u32,
}

/// Entry flag: masqueraded through this host, so its egress policy does not
/// apply.
pub const FORWARDED: u32 = 1;

/// Entry flag: a connection that its policy lets go on until it ends, though no
/// rule admits it any more. Only the daemon sets it, at a switch.
pub const KEPT: u32 = 2;

impl FlowEntry {
    /// Not in the table. A plain number instead of an `Option`: the kernel's
    /// verifier follows it better.
    pub const NONE: Self = Self { generation: 0, last_s: 0, first_s: 0, flags: 0 };

    /// True for an entry that has not been written again in a later second.
    #[inline(always)]
    pub const fn is_new(&self) -> bool {
        self.first_s == self.last_s
    }

    /// True for an entry that was seen within the idle limit of its protocol.
    #[inline(always)]
    pub fn is_live(&self, protocol: u8, now_s: u32) -> bool {
        // Another processor may have written it in a second that has not begun here.
        self.last_s != 0 && now_s.saturating_sub(self.last_s) < idle_limit_s(protocol)
    }
}

/// Seconds without a packet after which an entry no longer counts. TCP: the
/// reference's 8,000 s (host-behaviour clause A5.7); a longer silence is healed
/// by the socket.
#[inline(always)]
pub const fn idle_limit_s(protocol: u8) -> u32 {
    match protocol {
        protocol::TCP => 8_000,
        protocol::UDP => 180,
        protocol::ICMP | protocol::ICMPV6 => 60,
        _ => 600,
    }
}

/// Which connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Flows that this host, or a container masqueraded by it, has opened.
    Own,
    /// Inbound flows that policy admitted, but TCP; kept where their answers need
    /// it. A table of its own, so that an inbound flood evicts nothing of ours.
    Admitted,
    /// The same of TCP. A flood of SYNs evicts connections, which their sockets
    /// heal, and not flows that have none.
    AdmittedTcp,
}

impl Table {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Own, Self::Admitted, Self::AdmittedTcp];

    /// Where an inbound flow of a protocol is kept that policy admitted.
    #[inline(always)]
    pub const fn admitted(protocol: u8) -> Self {
        if protocol == protocol::TCP { Self::AdmittedTcp } else { Self::Admitted }
    }
}
