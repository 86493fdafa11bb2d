//! The control word: one 64-bit store decides which generation is in force.
//! Because the programs read it for every packet, switching all devices is
//! atomic, and an unconfirmed change rolls back in the kernel at its deadline
//! even when the daemon is dead.

/// Slots for images in the kernel.
pub const SLOTS: u32 = 4;

/// Which slot is in force, until when, and what follows.
///
/// Bits: 0..4 active slot, 4..8 fallback slot, 8 active audits, 9 fallback
/// audits, 10 an active generation exists, 11 a fallback exists, 12 nothing is
/// enforced yet, the programs only learn, 16..64 the deadline in milliseconds of `CLOCK_MONOTONIC` (0: no deadline).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlWord(pub u64);

/// A slot and how it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Slot of the image, below [`SLOTS`].
    pub slot: u32,
    /// True when default denies pass and are reported.
    pub audit: bool,
}

const AUDIT: u64 = 1 << 8;
const FALLBACK_AUDIT: u64 = 1 << 9;
const ACTIVE: u64 = 1 << 10;
const FALLBACK: u64 = 1 << 11;
const LEARN: u64 = 1 << 12;
const DEADLINE_SHIFT: u32 = 16;

impl ControlWord {
    /// Nothing in force: every packet passes.
    pub const EMPTY: Self = Self(0);

    /// One generation, in force without a deadline.
    pub const fn confirmed(active: InForce) -> Self {
        Self(slot_bits(active.slot) | if active.audit { AUDIT } else { 0 } | ACTIVE)
    }

    /// Everything passes, and the programs write down what this host opens; the
    /// image in the slot says which addresses are its own. What comes before
    /// the first enforcement.
    pub const fn learning(slot: u32) -> Self {
        Self(Self::confirmed(InForce { slot, audit: true }).0 | LEARN)
    }

    /// `active` until `deadline_ms` (milliseconds of `CLOCK_MONOTONIC`, not 0),
    /// then `fallback`.
    pub const fn until(active: InForce, deadline_ms: u64, fallback: InForce) -> Self {
        Self(
            Self::confirmed(active).0
                | (slot_bits(fallback.slot) << 4)
                | if fallback.audit { FALLBACK_AUDIT } else { 0 }
                | FALLBACK
                | (deadline_ms << DEADLINE_SHIFT),
        )
    }

    /// True when the clock matters: the clock costs a helper call.
    #[inline(always)]
    pub const fn has_deadline(self) -> bool {
        self.0 >> DEADLINE_SHIFT != 0
    }

    /// The deadline in milliseconds of `CLOCK_MONOTONIC`, 0 for none.
    #[inline(always)]
    pub const fn deadline_ms(self) -> u64 {
        self.0 >> DEADLINE_SHIFT
    }

    /// True when the programs write down flows and nothing else.
    #[inline(always)]
    pub const fn is_learning(self) -> bool {
        self.0 & LEARN != 0
    }

    /// True when some generation is in force, or learned by.
    #[inline(always)]
    pub const fn is_loaded(self) -> bool {
        self.0 & ACTIVE != 0
    }

    /// What applies at `now_ms`; the value of `now_ms` does not matter without
    /// a deadline.
    #[inline(always)]
    pub const fn in_force(self, now_ms: u64) -> InForce {
        let expired = self.has_deadline() && now_ms >= self.deadline_ms() && self.0 & FALLBACK != 0;
        let (slot, audit) = if expired {
            ((self.0 >> 4) & 0xf, self.0 & FALLBACK_AUDIT != 0)
        } else {
            (self.0 & 0xf, self.0 & AUDIT != 0)
        };
        #[expect(clippy::as_conversions, reason = "four bits remain")]
        InForce { slot: slot as u32, audit }
    }
}

const fn slot_bits(slot: u32) -> u64 {
    #[expect(clippy::as_conversions, reason = "four bits remain")]
    {
        (slot & 0xf) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: InForce = InForce { slot: 2, audit: false };
    const OLD: InForce = InForce { slot: 1, audit: true };

    #[test]
    fn a_confirmed_generation_stays_whatever_the_clock_says() {
        let word = ControlWord::confirmed(NEW);
        assert!(word.is_loaded() && !word.has_deadline());
        assert_eq!(word.in_force(0), NEW);
        assert_eq!(word.in_force(u64::MAX), NEW);
    }

    #[test]
    fn an_unconfirmed_generation_gives_way_at_its_deadline() {
        let word = ControlWord::until(NEW, 5_000, OLD);
        assert_eq!(word.in_force(4_999), NEW);
        assert_eq!(word.in_force(5_000), OLD);
    }

    #[test]
    fn a_word_to_learn_by_names_its_slot_and_enforces_nothing() {
        let word = ControlWord::learning(NEW.slot);
        assert!(word.is_loaded() && word.is_learning() && !word.has_deadline());
        assert_eq!(word.in_force(0).slot, NEW.slot);
        for word in [ControlWord::confirmed(NEW), ControlWord::until(NEW, u64::MAX >> 16, OLD)] {
            assert!(!word.is_learning());
        }
    }

    #[test]
    fn nothing_is_in_force_in_the_empty_word() {
        assert!(!ControlWord::EMPTY.is_loaded());
    }
}
