//! Counters of rules and reasons, summed over CPUs, read from memory that is
//! shared with the programs.

use std::{os::fd::AsFd, path::Path, sync::atomic::Ordering};

use aya::maps::{Map, MapData, PerCpuArray};
use hostfw_datapath::{
    Direction, Reason,
    report::{self, Count, GATE_BUCKETS},
};

use super::{
    Kernel, KernelError, maps_dir, object,
    sys::{self, PAIR_BYTES, Shared},
    waiting::WaitingCounts,
};

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

impl Counts {
    fn of(sum: &Count, ticks: &Ticks) -> Self {
        let Count { packets, bytes, last_ticks } = *sum;
        Self { packets, bytes, idle_s: ticks.idle_s(last_ticks) }
    }
}

impl Kernel {
    /// Counters of the rules of the image in a slot, by rule id.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn rule_counts(&self, slot: u32) -> Result<Vec<Counts>, KernelError> {
        let rules = self.slots.get(&slot).map_or(0, |slot| slot.rules);
        let hits = self.hits(slot, false)?;
        let waiting = self.waiting(false)?;
        let ticks = Ticks::now();
        let mut sums = vec![Count::default(); rules.min(self.capacity.rules) as usize];
        for cpu in 0..hits.cpus {
            let first = report::rules_at(slot, cpu as u32, hits.cpus as u32, self.capacity.rules);
            let last = waiting.settled(cpu, |index| hits.of(cpu, index.wrapping_sub(first)));
            for (rule, sum) in (0..).zip(&mut sums) {
                let count = match last {
                    Some((index, count)) if index == first + rule => count,
                    _ => hits.of(cpu, rule),
                };
                add(sum, &count);
            }
        }
        Ok(sums.iter().map(|sum| Counts::of(sum, &ticks)).collect())
    }

    /// Counters by direction and reason; reasons that never occurred are left
    /// out.
    ///
    /// # Errors
    /// A map that cannot be read.
    pub fn reason_counts(&self) -> Result<Vec<(Direction, Reason, Counts)>, KernelError> {
        let pin = maps_dir(&self.config.bpf_dir).join("reasons");
        let reasons = Counters::open(&pin, "REASONS", 0, report::reason_at(1, 0, 0), false)?;
        let ticks = Ticks::now();
        let mut found = Vec::new();
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL {
                let at = report::reason_at(0, direction as u32, *reason as u32);
                let mut sum = Count::default();
                for cpu in 0..reasons.cpus {
                    add(&mut sum, &reasons.of(cpu, at));
                }
                let counts = Counts::of(&sum, &ticks);
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
        self.hits(slot, true)?.clear(rules.min(self.capacity.rules));
        Ok(())
    }

    /// Gives up what waits for the counters of a slot. What a program adds of it at
    /// this moment is there before no program reads the slot any more.
    pub(super) fn forget_waiting(&self, slot: u32) -> Result<(), KernelError> {
        let cpus = sys::cpus().map_err(KernelError::map("WAITING"))?;
        let of = |slot: u32| report::rules_at(slot, 0, cpus, self.capacity.rules);
        self.waiting(true)?.forget(&(of(slot)..of(slot + 1)));
        Ok(())
    }

    /// What waits for the counters of rules.
    fn waiting(&self, writable: bool) -> Result<WaitingCounts, KernelError> {
        let pin = object::waiting_pin(&maps_dir(&self.config.bpf_dir), self.capacity);
        WaitingCounts::open(&pin, writable)
    }

    /// The counters of the rules of a slot.
    fn hits(&self, slot: u32, writable: bool) -> Result<Counters, KernelError> {
        let pin = object::hits_pin(&maps_dir(&self.config.bpf_dir), self.capacity);
        Counters::open(&pin, "RULE_HITS", slot, self.capacity.rules, writable)
    }
}

/// Counters of all CPUs, those of one behind those of the other.
struct Counters {
    shared: Shared,
    cpus: usize,
    /// How many each CPU has.
    each: usize,
}

impl Counters {
    /// Those of a pinned map for a slot; see [`report::rules_at`].
    fn open(
        pin: &Path,
        name: &'static str,
        slot: u32,
        each: u32,
        writable: bool,
    ) -> Result<Self, KernelError> {
        let map = MapData::from_pin(pin).map_err(KernelError::map(name))?;
        let cpus = sys::cpus().map_err(KernelError::map(name))?;
        let first = report::rules_at(slot, 0, cpus, each) as usize * COUNT_PAIRS;
        let (cpus, each) = (cpus as usize, each as usize);
        let pairs = cpus * each * COUNT_PAIRS;
        let shared = Shared::map_part(map.fd().as_fd(), first, pairs, writable)
            .map_err(KernelError::map(name))?;
        Ok(Self { shared, cpus, each })
    }

    /// One of a CPU; nothing where that has no such counter.
    fn of(&self, cpu: usize, at: u32) -> Count {
        let at = at as usize;
        if at >= self.each {
            return Count::default();
        }
        let first = (cpu * self.each + at) * COUNT_PAIRS;
        let [packets, bytes, last_ticks] =
            [0, 1, 2].map(|word| self.shared.cell(first + word).load(Ordering::Relaxed));
        Count { packets, bytes, last_ticks }
    }

    /// Sets the first ones of every CPU to zero.
    fn clear(&self, n_counters: u32) {
        for cpu in 0..self.cpus {
            let first = cpu * self.each * COUNT_PAIRS;
            for index in first..first + n_counters as usize * COUNT_PAIRS {
                self.shared.cell(index).store(0, Ordering::Relaxed);
            }
        }
    }
}

fn add(sum: &mut Count, count: &Count) {
    sum.packets = sum.packets.saturating_add(count.packets);
    sum.bytes = sum.bytes.saturating_add(count.bytes);
    sum.last_ticks = sum.last_ticks.max(count.last_ticks);
}

/// Words of a [`Count`]: packets, bytes, ticks.
const COUNT_PAIRS: usize = size_of::<Count>() / PAIR_BYTES;

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

    /// Milliseconds since the second began.
    pub(super) fn past_ms(&self) -> u64 {
        self.now % self.per_s * 1_000 / self.per_s
    }

    /// The same seconds, as far back as the programs' clock can be: it starts a moment
    /// after the monotonic one, and an entry of the future counts as too old.
    pub(super) fn certain_seconds(&self) -> u32 {
        self.seconds().saturating_sub(CLOCK_LAG_S).max(1)
    }
}
