//! Memory that a compilation has used and nobody needs any more. The allocator
//! keeps it for the next one, which comes when somebody edits a policy: in
//! minutes or in months.

/// Gives what is not used back to the system.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Bytes that were spare after the last time, in pieces of pages.
    rest: usize,
}

impl Memory {
    /// Where more than small changes need has become spare since the last time.
    /// What those use again and again stays: a page that is given back and taken
    /// again costs two microseconds.
    pub(crate) fn give_back(&mut self) {
        let spare = system::spare();
        self.rest = self.rest.min(spare);
        if spare - self.rest > SPARE_BYTES {
            system::trim();
            self.rest = system::spare();
        }
    }
}

/// More than an image of 10,000 rules.
const SPARE_BYTES: usize = 8 << 20;

#[cfg(target_env = "gnu")]
mod system {
    use std::fs;

    /// Bytes that are resident, and that the allocator has not handed out: what the
    /// programs themselves take is among them, and does not change.
    pub(super) fn spare() -> usize {
        // SAFETY: it only reads the allocator's own numbers.
        let numbers = unsafe { libc::mallinfo2() };
        resident().saturating_sub(numbers.uordblks + numbers.hblkhd)
    }

    pub(super) fn trim() {
        // SAFETY: it touches no memory that is in use; any number is allowed.
        unsafe { libc::malloc_trim(0) };
    }

    /// Bytes in memory; 0 where nobody says.
    pub(super) fn resident() -> usize {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        kib.and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) << 10
    }
}

/// Other allocators are not asked.
#[cfg(not(target_env = "gnu"))]
mod system {
    pub(super) fn spare() -> usize {
        0
    }

    pub(super) fn trim() {}
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::{Memory, system::resident};

    #[test]
    fn what_a_large_generation_held_is_given_back_when_a_small_one_follows() {
        const BLOCKS: usize = 64 << 10;
        let mut memory = Memory::default();
        let mut blocks: Vec<_> = (0..BLOCKS).map(|number| Box::new([number as u8; 1024])).collect();
        memory.give_back();
        let held = resident();
        // Somebody behind them keeps the allocator from giving them back itself.
        let last = blocks.pop();
        drop(blocks);
        memory.give_back();
        assert!(resident() + (BLOCKS << 9) < held, "{} of {held}", resident());
        assert_eq!(last.map(|block| block.len()), Some(1024));
    }
}
