//! The counts of rules that wait on each CPU until the next one comes: read with the
//! counters that they go into, and given up with the slot that they are of.

use std::{hint, ops::Range, os::fd::AsFd, path::Path, sync::atomic::Ordering};

use aya::maps::MapData;
use hostfw_datapath::report::{Count, Waiting};

use super::{
    KernelError,
    sys::{self, PAIR_BYTES, Shared},
};

/// Words of one element.
const WORDS: usize = size_of::<Waiting>() / PAIR_BYTES;
/// Looks at a count that changes before it is left out: none lasts for more than a
/// few nanoseconds, and a CPU that is busy shows another one soon.
const LOOKS: usize = 10_000;

/// What waits on all CPUs.
pub(super) struct WaitingCounts {
    shared: Shared,
    n_cpus: usize,
}

impl WaitingCounts {
    /// Those of a pinned map.
    pub(super) fn open(pin: &Path, writable: bool) -> Result<Self, KernelError> {
        let map = MapData::from_pin(pin).map_err(KernelError::map("WAITING"))?;
        let n_cpus = sys::cpus().map_err(KernelError::map("WAITING"))? as usize;
        let shared = Shared::map_part(map.fd().as_fd(), 0, n_cpus * WORDS, writable)
            .map_err(KernelError::map("WAITING"))?;
        Ok(Self { shared, n_cpus })
    }

    /// What waits on a CPU, by its index among the counters, with the counter that it
    /// goes into: counted once, whether it is added meanwhile or not. Counters that are
    /// read afterwards hold all that has waited before.
    pub(super) fn settled(
        &self,
        cpu: usize,
        so_far: impl Fn(u32) -> Count,
    ) -> Option<(u32, Count)> {
        for _ in 0..LOOKS {
            let [counter, bytes, ticks] = self.read(cpu);
            if counter == 0 {
                return None;
            }
            if counter != Waiting::ADDING {
                let index = Waiting::index(counter);
                let so_far = so_far(index);
                if self.read(cpu) == [counter, bytes, ticks] {
                    let count = Count {
                        packets: so_far.packets.saturating_add(1),
                        bytes: so_far.bytes.saturating_add(bytes),
                        last_ticks: so_far.last_ticks.max(ticks),
                    };
                    return Some((index, count));
                }
            }
            hint::spin_loop();
        }
        None
    }

    /// Gives up what waits for some counters.
    pub(super) fn forget(&self, counters: &Range<u32>) {
        for cpu in 0..self.n_cpus {
            let counter = self.shared.cell(cpu * WORDS);
            let seen = counter.load(Ordering::Acquire);
            if counters.contains(&Waiting::index(seen)) {
                // Where it is another by now, the program has done it.
                let _changed =
                    counter.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// Counter, bytes and ticks.
    fn read(&self, cpu: usize) -> [u64; 3] {
        [0, 1, 2].map(|word| self.shared.cell(cpu * WORDS + word).load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs::File, os::fd::FromRawFd};

    use super::*;

    /// What waits on two CPUs, in memory that is no map.
    fn waiting() -> WaitingCounts {
        // SAFETY: the name is a C string, and nobody else owns the new file.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"waiting".as_ptr(), 0)) };
        let n_cpus = 2;
        file.set_len((n_cpus * size_of::<Waiting>()) as u64).expect("room");
        let shared = Shared::map_part(file.as_fd(), 0, n_cpus * WORDS, true).expect("a mapping");
        WaitingCounts { shared, n_cpus }
    }

    impl WaitingCounts {
        fn put(&self, cpu: usize, values: [u64; 3]) {
            for (word, value) in values.into_iter().enumerate() {
                self.shared.cell(cpu * WORDS + word).store(value, Ordering::Relaxed);
            }
        }
    }

    const SEVEN: Count = Count { packets: 7, bytes: 700, last_ticks: 70 };

    #[test]
    fn what_waits_is_counted_with_its_counter() {
        let waiting = waiting();
        assert_eq!(waiting.settled(1, |_| SEVEN), None);
        waiting.put(1, [31, 60, 90]);
        let sum = Count { packets: 8, bytes: 760, last_ticks: 90 };
        assert_eq!(waiting.settled(1, |_| SEVEN), Some((30, sum)));
        assert_eq!(waiting.settled(0, |_| SEVEN), None);
    }

    #[test]
    fn what_is_added_while_it_is_read_is_counted_once() {
        // What the program does between two looks: it adds, and another waits.
        for then in [[41, 60, 90], [31, 61, 90], [31, 60, 91]] {
            let waiting = waiting();
            waiting.put(0, [31, 60, 90]);
            let looks = Cell::new(0);
            let so_far = |_| {
                looks.set(looks.get() + 1);
                waiting.put(0, then);
                SEVEN
            };
            let (index, count) = waiting.settled(0, so_far).expect("one waits");
            assert_eq!((u64::from(index) + 1, looks.get()), (then[0], 2));
            assert_eq!((count.packets, count.bytes), (8, 700 + then[1]));
        }
    }

    #[test]
    fn what_never_settles_is_left_out() {
        let waiting = waiting();
        waiting.put(0, [Waiting::ADDING, 60, 90]);
        assert_eq!(waiting.settled(0, |_| SEVEN), None);
    }

    #[test]
    fn only_what_waits_for_these_counters_is_forgotten() {
        let waiting = waiting();
        for (counter, is_forgotten) in
            [(0, false), (10, false), (11, true), (20, true), (21, false), (u64::MAX, false)]
        {
            waiting.put(1, [counter, 60, 90]);
            waiting.forget(&(10..20));
            let left = waiting.read(1)[0];
            assert_eq!(left, if is_forgotten { 0 } else { counter });
        }
    }
}
