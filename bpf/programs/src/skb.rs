//! A packet on a hook, seen through the kernel's socket buffer.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_pull_data};
use hostfw_datapath::{
    Direction, Facts, Packet, Reason,
    packet::{Layer, MAX_OFFSET},
    parse::{self, Start, Upper},
};

/// The packet of one program run.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    pub(crate) raw: *mut __sk_buff,
    pub(crate) layer: Layer,
    pub(crate) egress: bool,
}

impl Skb {
    /// A field of the context.
    #[inline(always)]
    fn context(&self) -> &__sk_buff {
        // SAFETY: the kernel hands every program run one valid context.
        unsafe { &*self.raw }
    }

    #[inline(always)]
    pub(crate) fn length(&self) -> u32 {
        self.context().len
    }

    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        self.context().ifindex
    }

    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        self.context().mark
    }

    /// Bytes that can be read without a copy.
    #[inline(always)]
    pub(crate) fn linear(&self) -> u32 {
        let context = self.context();
        context.data_end.wrapping_sub(context.data)
    }

    /// Makes up to `bytes` readable; a failure shows as a short packet.
    #[inline(always)]
    pub(crate) fn pull(&self, bytes: u32) {
        let wanted = self.length().min(bytes);
        // SAFETY: the context is valid; the helper may move the data, and every
        // read starts from the context again.
        let _moved = unsafe { bpf_skb_pull_data(self.raw, wanted) };
    }

    /// A packet on a hook.
    #[inline(always)]
    pub(crate) const fn new(raw: *mut __sk_buff, layer: Layer, direction: Direction) -> Self {
        Self { raw, layer, egress: matches!(direction, Direction::Egress) }
    }

    /// What [`Skb::show`] has left.
    #[inline(always)]
    pub(crate) fn shown(&self) -> [u32; 5] {
        // SAFETY: the context is valid.
        // JUSTIFICATION: read from memory indeed, see [`Packet::forget`].
        core::array::from_fn(|at| unsafe {
            core::ptr::read_volatile(&raw const (*self.raw).cb[at])
        })
    }

    /// Leaves a verdict where the function that tells of it, and the test
    /// runner, can read it. Whoever gets the packet next starts with a control
    /// block of his own.
    #[inline(always)]
    pub(crate) fn show(&self, words: [u32; 5]) {
        // SAFETY: the control block belongs to the program that runs.
        unsafe { (*self.raw).cb = words };
    }
}

/// Gives a number back, and keeps the compiler from knowing that it does.
#[inline(always)]
pub(crate) fn opaque(mut number: u64) -> u64 {
    // SAFETY: a register is copied to itself.
    // JUSTIFICATION: `core::hint::black_box` would go through the stack, and an
    // empty piece of assembly would leave a line number without an instruction,
    // which the kernel refuses.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// `PACKET_OTHERHOST`, include/uapi/linux/if_packet.h.
const PACKET_OTHERHOST: u32 = 3;

/// All offsets stay below this; the mask tells the verifier so.
const OFFSET_MASK: usize = 0x3ff;
const _: () = assert!(MAX_OFFSET as usize + 64 <= OFFSET_MASK + 1);

impl Packet for Skb {
    #[inline(always)]
    fn facts(&self) -> Facts {
        let context = self.context();
        let vlan = if context.vlan_present != 0 { (context.vlan_tci & 0x0fff) as u16 } else { 0 };
        let forwarded = self.egress && context.ingress_ifindex != 0;
        let for_other = !self.egress
            && matches!(self.layer, Layer::Ethernet)
            && context.pkt_type == PACKET_OTHERHOST;
        Facts { layer: self.layer, vlan, forwarded, for_other }
    }

    #[inline(always)]
    fn read<H: zerocopy::FromBytes + Copy>(&self, offset: u32) -> Option<H> {
        let context = self.context();
        let end = context.data_end as usize;
        // One register for the check and for the load: without the barrier the
        // compiler splits them, and kernels before 7.x refuse the program.
        let at = opaque((context.data as usize + (offset as usize & OFFSET_MASK)) as u64) as usize;
        if at + size_of::<H>() > end {
            return None;
        }
        // SAFETY: the bytes lie inside the packet, `H` takes any bytes, and BPF
        // loads need no alignment in packets.
        Some(unsafe { *(at as *const H) })
    }

    #[inline(always)]
    fn forget(&self, number: u32) -> u32 {
        // SAFETY: the control block belongs to the program that runs.
        // JUSTIFICATION: the compiler knows the number, and the verifier would
        // if it were not read from the context.
        unsafe {
            let cell = &raw mut (*self.raw).cb[4];
            core::ptr::write_volatile(cell, number);
            core::ptr::read_volatile(cell)
        }
    }

    #[inline(always)]
    fn upper(&self, start: Start) -> Result<Upper, Reason> {
        Upper::from_word(hostfw_upper(self.raw, start.to_word()))
    }
}

/// The walk over extension headers as a global function: the verifier reads it
/// once, with any start.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hostfw_upper(raw: *mut __sk_buff, start: u64) -> u64 {
    // The layer and the direction do not matter above the IP header.
    let skb = Skb::new(raw, Layer::Ethernet, Direction::Ingress);
    Upper::to_word(parse::upper(&skb, Start::from_word(start)))
}
