//! Counters of rules and reasons, summed over CPUs.

use aya::maps::{Map, MapData, PerCpuArray};
use hostfw_datapath::{
    Direction, Reason,
    report::{Count, GATE_BUCKETS},
    verdict::REASON_SLOTS,
};

use super::{Kernel, KernelError, Raw, maps_dir, sys};

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
        (0..rules.min(self.capacity.rules))
            .map(|rule| sum(&hits, slot * self.capacity.rules + rule, &ticks))
            .collect()
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
        let failed = KernelError::map("RULE_HITS");
        let mut hits = self.hits()?;
        let cpus = aya::util::nr_cpus()
            .map_err(|(_, source)| KernelError::Map { map: "RULE_HITS", source: source.into() })?;
        let zero = vec![Raw(Count::default()); cpus];
        for rule in 0..rules.min(self.capacity.rules) {
            let values = aya::maps::PerCpuValues::try_from(zero.clone())
                .map_err(KernelError::map("RULE_HITS"))?;
            hits.set(slot * self.capacity.rules + rule, values, 0).map_err(failed)?;
        }
        Ok(())
    }

    fn hits(&self) -> Result<PerCpuArray<MapData, Raw<Count>>, KernelError> {
        let pin = maps_dir(&self.config.bpf_dir).join(format!("rule_hits_{}", self.capacity.rules));
        let map = MapData::from_pin(pin).map_err(KernelError::map("RULE_HITS"))?;
        counts(Map::PerCpuArray(map), "RULE_HITS")
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
    let mut total = Counts::default();
    let mut last = 0;
    for Raw(count) in values.iter() {
        total.packets = total.packets.saturating_add(count.packets);
        total.bytes = total.bytes.saturating_add(count.bytes);
        last = last.max(count.last_ticks);
    }
    total.idle_s = ticks.idle_s(last);
    Ok(total)
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
