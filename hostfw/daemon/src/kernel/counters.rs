//! Counters of rules and reasons, summed over CPUs.

use std::{io, ops::Range, os::fd::AsFd};

use aya::maps::{Map, MapData, PerCpuArray};
use hostfw_datapath::{
    Direction, Reason,
    report::{Count, GATE_BUCKETS},
    verdict::REASON_SLOTS,
};

use zerocopy::transmute;

use super::{Kernel, KernelError, Raw, batch, maps_dir, sys};

/// Packets and bytes, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Bytes, link layer included.
    pub bytes: u64,
    /// Seconds since the last packet; `None` when there was none.
    pub idle_s: Option<u64>,
}

impl Kernel {
    /// Counters of the rules of the image in a slot, by rule id.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn rule_counts(&self, slot: u32) -> Result<Vec<Counts>, KernelError> {
        let rules = self.slots.get(&slot).map_or(0, |slot| slot.rules);
        let hits = self.hits()?;
        let ticks = Ticks::now();
        let elements = self.hits_of(slot, rules);
        let mut found = Vec::with_capacity(elements.len());
        let outcome = batch::read(hits.fd().as_fd(), elements.clone(), hit_words()?, |words| {
            let (counts, _) = words.as_chunks::<COUNT_WORDS>();
            found.push(total(counts.iter().map(|words| transmute!(*words)), &ticks));
        });
        match outcome {
            Ok(()) => Ok(found),
            Err(error) if lacks_batches(&error) => {
                let hits = counts(Map::PerCpuArray(hits), "RULE_HITS")?;
                elements.map(|element| sum(&hits, element, &ticks)).collect()
            }
            Err(error) => Err(KernelError::map("RULE_HITS")(error)),
        }
    }

    /// Counters by direction and reason; reasons that never occurred are left
    /// out.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn reason_counts(&self) -> Result<Vec<(Direction, Reason, Counts)>, KernelError> {
        let map = MapData::from_pin(maps_dir(&self.config.bpf_dir).join("reasons"))
            .map_err(KernelError::map("REASONS"))?;
        let reasons = counts(Map::PerCpuArray(map), "REASONS")?;
        let ticks = Ticks::now();
        let mut found = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                let index = direction as u32 * REASON_SLOTS + *reason as u32;
                let counts = sum(&reasons, index, &ticks)?;
                if counts.packets != 0 {
                    found.push((direction, *reason, counts));
                }
            }
        }
        Ok(found)
    }

    /// Reports that a spent budget or a full ring has cost.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn lost_reports(&self) -> Result<u64, KernelError> {
        let failed = KernelError::map("GATES");
        let map =
            MapData::from_pin(maps_dir(&self.config.bpf_dir).join("gates")).map_err(failed)?;
        let gates: PerCpuArray<MapData, u64> = Map::PerCpuArray(map).try_into().map_err(failed)?;
        let lost = gates.get(&(GATE_BUCKETS + 3), 0).map_err(failed)?;
        Ok(lost.iter().sum())
    }

    /// Sets the counters of a slot to zero before its image is used.
    pub(super) fn forget_hits(&mut self, slot: u32, rules: u32) -> Result<(), KernelError> {
        let hits = self.hits()?;
        let elements = self.hits_of(slot, rules);
        match batch::clear(hits.fd().as_fd(), elements.clone(), hit_words()?) {
            Err(error) if lacks_batches(&error) => {}
            done => return done.map_err(KernelError::map("RULE_HITS")),
        }
        let mut hits = counts(Map::PerCpuArray(hits), "RULE_HITS")?;
        let cpus = aya::util::nr_cpus()
            .map_err(|(_, source)| KernelError::Map { map: "RULE_HITS", source: source.into() })?;
        let zero = vec![Raw(Count::default()); cpus];
        for element in elements {
            let values = aya::maps::PerCpuValues::try_from(zero.clone())
                .map_err(KernelError::map("RULE_HITS"))?;
            hits.set(element, values, 0).map_err(KernelError::map("RULE_HITS"))?;
        }
        Ok(())
    }

    /// The counters of the rules of a slot.
    fn hits_of(&self, slot: u32, rules: u32) -> Range<u32> {
        let first = slot * self.capacity.rules;
        first..first + rules.min(self.capacity.rules)
    }

    fn hits(&self) -> Result<MapData, KernelError> {
        let pin = maps_dir(&self.config.bpf_dir).join(format!("rule_hits_{}", self.capacity.rules));
        MapData::from_pin(pin).map_err(KernelError::map("RULE_HITS"))
    }
}

fn counts(map: Map, name: &'static str) -> Result<PerCpuArray<MapData, Raw<Count>>, KernelError> {
    map.try_into().map_err(KernelError::map(name))
}

fn sum(
    map: &PerCpuArray<MapData, Raw<Count>>,
    index: u32,
    ticks: &Ticks,
) -> Result<Counts, KernelError> {
    let values = map.get(&index, 0).map_err(KernelError::map("counters"))?;
    Ok(total(values.iter().map(|Raw(count)| *count), ticks))
}

/// What all CPUs have counted.
fn total(counts: impl Iterator<Item = Count>, ticks: &Ticks) -> Counts {
    let mut total = Counts::default();
    let mut last = 0;
    for count in counts {
        total.packets = total.packets.saturating_add(count.packets);
        total.bytes = total.bytes.saturating_add(count.bytes);
        last = last.max(count.last_ticks);
    }
    total.idle_s = ticks.idle_s(last);
    total
}

const COUNT_WORDS: usize = size_of::<Count>() / 8;

/// Words of one counter, for all CPUs.
fn hit_words() -> Result<usize, KernelError> {
    let cpus = aya::util::nr_cpus()
        .map_err(|(_, source)| KernelError::Map { map: "RULE_HITS", source: source.into() })?;
    Ok(cpus * COUNT_WORDS)
}

/// True when the kernel is older than calls for many elements of such a map.
fn lacks_batches(error: &io::Error) -> bool {
    // ENOTSUPP has no name outside the kernel (include/linux/errno.h).
    const NOT_SUPPORTED: i32 = 524;
    matches!(error.raw_os_error(), Some(NOT_SUPPORTED | libc::EOPNOTSUPP | libc::EINVAL))
}

/// The programs' clock is at most so far behind; a tenth of a second was seen.
const CLOCK_LAG_S: u32 = 2;

/// The kernel's tick counter at one moment.
pub(super) struct Ticks {
    now: u64,
    per_s: u64,
}

impl Ticks {
    /// Derived from the monotonic clock: the counter starts five minutes before
    /// 32 bits overflow (`INITIAL_JIFFIES`, include/linux/jiffies.h).
    pub(super) fn now() -> Self {
        let per_s = u64::from(sys::ticks_per_s());
        let start = u64::from(u32::MAX) + 1 - 300 * per_s;
        Self { now: start + sys::monotonic_ms() * per_s / 1_000, per_s }
    }

    /// Seconds since a value of the counter; `None` for 0, "never".
    fn idle_s(&self, ticks: u64) -> Option<u64> {
        (ticks != 0).then(|| self.now.saturating_sub(ticks) / self.per_s)
    }

    /// The clock of flow entries: whole seconds of ticks.
    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.now / self.per_s).unwrap_or(u32::MAX).max(1)
    }

    /// The same, as far back as the programs' clock can be: it starts a moment
    /// after the monotonic one, and an entry of the future counts as too old.
    pub(super) fn certain_seconds(&self) -> u32 {
        self.seconds().saturating_sub(CLOCK_LAG_S).max(1)
    }
}
