//! What the programs share with the daemon: maps, and settings that are fixed
//! when a program is loaded. Map names are pins; their layouts are ABI.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use hostfw_datapath::{
    control_word::SLOTS,
    flow::{FlowEntry, FlowKey, Table},
    place::{PLACES as N_PLACES, Place},
    report::{Count, GATE_BUCKETS, Record, Waiting},
    verdict::REASON_SLOTS,
};

const MMAPABLE: usize = 1 << 10;

/// Words of an image, all in one element, or in windows of equal size where
/// the kernel makes no element that large. Both sizes are the daemon's choice:
/// it creates the outer map with a template, and the verifier takes the sizes
/// from there.
pub(crate) type Words = Array<[u32; 2], 1, MMAPABLE>;

/// The images, one a slot.
#[btf_map(name = "IMAGES")]
pub(crate) static IMAGES: ArrayOfMaps<Words, { SLOTS as usize }> = ArrayOfMaps::new();

/// Word 0: the control word.
#[btf_map(name = "CONTROL")]
pub(crate) static CONTROL: Array<u64, 1, MMAPABLE> = Array::new();

/// Places for flows that this host has opened, see [`hostfw_datapath::place`].
#[btf_map(name = "PLACES")]
pub(crate) static PLACES: Array<Place, { N_PLACES as usize }, MMAPABLE> = Array::new();

/// Flows that this host has opened, but TCP connections that have a place.
#[btf_map(name = "OWN")]
pub(crate) static OWN: LruHashMap<FlowKey, FlowEntry, 262_144> = LruHashMap::new();

/// Inbound flows admitted while egress is in force, but TCP.
#[btf_map(name = "ADMITTED")]
pub(crate) static ADMITTED: LruHashMap<FlowKey, FlowEntry, 131_072> = LruHashMap::new();

/// The same of TCP.
#[btf_map(name = "ADMITTED_TCP")]
pub(crate) static ADMITTED_TCP: LruHashMap<FlowKey, FlowEntry, 131_072> = LruHashMap::new();

/// Entries that were new to a table, by its number, then those that the daemon
/// wrote. What is no longer there of them was evicted.
#[btf_map(name = "MADE")]
pub(crate) static MADE: PerCpuArray<u64, { 2 * Table::ALL.len() }> = PerCpuArray::new();

/// One byte for each TCP port, then one for each UDP port: not 0 when this host
/// has opened something from it. Bytes, not bits: two CPUs never lose a mark.
#[btf_map(name = "OPENED")]
pub(crate) static OPENED: Array<[u8; 8], { 2 * 65_536 / 8 }, MMAPABLE> = Array::new();

/// Packets by CPU, direction and reason ([`hostfw_datapath::report::reason_at`]).
/// Each CPU writes its own part: an array that the kernel divides by CPUs is one
/// more look for a packet, and cannot be read without a call. The daemon sets the
/// length.
#[btf_map(name = "REASONS")]
pub(crate) static REASONS: Array<Count, { 2 * REASON_SLOTS as usize }, MMAPABLE> = Array::new();

/// Packets by slot, CPU and rule ([`hostfw_datapath::report::rules_at`]), likewise.
#[btf_map(name = "RULE_HITS")]
pub(crate) static RULE_HITS: Array<Count, { SLOTS as usize * 1024 }, MMAPABLE> = Array::new();

/// For each CPU the count that goes into [`RULE_HITS`] next. The daemon sets the
/// length.
#[btf_map(name = "WAITING")]
pub(crate) static WAITING: Array<Waiting, 1, MMAPABLE> = Array::new();

/// Events for observers.
#[btf_map(name = "EVENTS")]
pub(crate) static EVENTS: RingBuf<Record, 1_048_576> = RingBuf::new();

/// Buckets of the event gate, then the looks of this tick, the budgets of first
/// and of denied packets, then the number of reports that a spent budget or a full ring has cost.
#[btf_map(name = "GATES")]
pub(crate) static GATES: PerCpuArray<u64, { GATE_BUCKETS as usize + 4 }> = PerCpuArray::new();

/// Adds to a number that each CPU has for itself.
#[inline(always)]
pub(crate) fn add(number: Option<*mut u64>, n: u64) {
    if let Some(number) = number {
        // SAFETY: this CPU's own slot of the map.
        unsafe { *number = (*number).wrapping_add(n) };
    }
}

/// Kernel ticks a second.
#[unsafe(no_mangle)]
static TICKS_PER_S: u32 = 250;

/// CPUs that there can be.
#[unsafe(no_mangle)]
static CPUS: u32 = 1;

/// Rules for which each slot has a counter.
#[unsafe(no_mangle)]
static RULES: u32 = 1024;

/// Binary logarithm of the words in one element of an image.
#[unsafe(no_mangle)]
static WINDOW_BITS: u32 = 1;

/// Elements of an image.
#[unsafe(no_mangle)]
static WINDOWS: u32 = 1;

/// Reports a second on each CPU, for first and for denied packets alike; 0 for
/// none, not even for those that are lost.
#[unsafe(no_mangle)]
static REPORTS_PER_S: u32 = 1000;

/// [`REHEARSE`] or 0, which is what the programs that enforce have: the verifier
/// removes what it guards.
#[unsafe(no_mangle)]
static MODE: u32 = 0;

/// Mode: judge by the slot that the packet's mark names, and touch nothing.
pub(crate) const REHEARSE: u32 = 1;

macro_rules! setting {
    ($name:ident, $static:ident) => {
        #[inline(always)]
        pub(crate) fn $name() -> u32 {
            // SAFETY: a live static of plain data.
            // JUSTIFICATION: the loader rewrites it after compilation, so the
            // compiler must not fold the value it sees here.
            unsafe { core::ptr::read_volatile(&raw const $static) }
        }
    };
}

setting!(ticks_per_s, TICKS_PER_S);
setting!(cpus, CPUS);
setting!(rules, RULES);
setting!(reports_per_s, REPORTS_PER_S);
setting!(window_bits, WINDOW_BITS);
setting!(windows, WINDOWS);
setting!(mode, MODE);
