//! What the data path needs to see of a packet: its bytes, and the few facts
//! that the kernel keeps beside them.

use zerocopy::FromBytes;

use crate::{
    Reason,
    parse::{self, Start, Upper},
};

/// What the kernel knows beside the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the first byte belongs to.
    pub layer: Layer,
    /// VLAN id that the device has taken out of the frame; 0 when there is
    /// none, or when the tag carries a priority only (IEEE 802.1Q).
    pub vlan: u16,
    /// Egress: the packet came in through a device, so another host or a pod
    /// sent it. Ingress: always false.
    pub forwarded: bool,
    /// Ingress: the frame is addressed to the hardware address of another
    /// device, such as a macvlan; the kernel keeps it from this one. Egress:
    /// always false.
    pub for_other: bool,
}

/// What the first byte of a device's packets belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// An IP header: tun, WireGuard, IPIP, GRE.
    Ip,
}

/// No header begins at or above this offset: a chain that long is refused. Bytes
/// of a header that begins below it are read, 64 at most.
pub const MAX_OFFSET: u32 = 960;

/// A packet under judgement.
pub trait Packet {
    /// The facts beside the bytes.
    fn facts(&self) -> Facts;

    /// A piece of a header at an offset in bytes (it ends at most 64 behind
    /// [`MAX_OFFSET`]), or `None` when it does not lie wholly inside the packet.
    fn read<H: FromBytes + Copy>(&self, offset: u32) -> Option<H>;

    /// Gives a number back. The kernel's verifier then no longer knows where it
    /// came from, and walks what follows once instead of once for each origin.
    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        number
    }

    /// What follows the IP header. The kernel overrides this by a function of
    /// its own around the same code, so that its verifier reads the loop once.
    ///
    /// # Errors
    /// The reason to refuse the packet, see [`parse::upper`].
    #[inline(always)]
    fn upper(&self, start: Start) -> Result<Upper, Reason>
    where
        Self: Sized,
    {
        parse::upper(self, start)
    }
}
