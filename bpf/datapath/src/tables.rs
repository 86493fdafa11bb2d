//! The questions a decision may ask beyond the image: the state of the host.
//! The kernel answers them from its maps and sockets, tests from a model, and
//! a trace writes them down.

use crate::{
    Address, Image, Packet,
    flow::{FlowEntry, FlowKey, Table},
    judge::Case,
    memory::{Ask, Known},
    parse::{Network, Upper},
};

/// State outside the image.
pub trait Tables {
    /// Seconds on a clock that never goes back and is never 0.
    fn now_s(&self) -> u32;

    /// False only when this host has certainly opened nothing from the local port of
    /// a TCP flow, or no table holds a flow that it has opened from that of a UDP
    /// flow. Nothing is certain of other protocols.
    fn has_opened(&self, key: &FlowKey) -> bool;

    /// The entry of a flow, or [`FlowEntry::NONE`].
    fn recall(&self, table: Table, key: &FlowKey) -> FlowEntry;

    /// Puts a flow into a table, or refreshes it. For [`Table::Own`] also
    /// marks the local port as opened.
    fn remember(&self, table: Table, key: &FlowKey, entry: FlowEntry);

    /// Who opened the TCP connection of a flow, by the kernel's own sockets.
    fn opener(&self, key: &FlowKey) -> Opener;

    /// True when the host itself would receive a packet to an address that the
    /// image does not know: its own address that the image has not caught up
    /// with, or any address where forwarding is off.
    fn is_delivered(&self, source: &Address, destination: &Address) -> bool;

    /// Asks what is known about the flow of a packet, or has it kept. The kernel
    /// overrides this by functions of its own around the same code, so that its
    /// verifier reads them once.
    #[inline(always)]
    fn consult<P: Packet, I: Image>(
        &self,
        ask: Ask,
        packet: &P,
        network: &Network,
        upper: &Upper,
        image: &I,
        audit: bool,
    ) -> Known
    where
        Self: Sized,
    {
        Case { image, tables: self, audit }.recollect(ask, packet, network, upper)
    }
}

/// Who opened a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opener {
    /// There is no such connection.
    Nobody = 0,
    /// This host.
    Host = 1,
    /// The other end.
    Peer = 2,
}
