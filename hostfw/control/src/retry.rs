//! When something that failed is tried again: soon at first, then ever more
//! rarely, for as long as it is wanted. Nothing here knows what failed.

/// Something the kernel or the disk was asked to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nobody asked yet.
    #[default]
    Open,
    /// Asked; the answer is not here yet.
    Asked {
        /// Attempts that failed before this one.
        failures: u32,
    },
    /// The last attempt failed.
    Failed {
        /// Why, as the shell said it.
        why: String,
        /// Attempts that failed, this one included.
        failures: u32,
        /// When the next attempt is due.
        again_ms: u64,
    },
    /// The last attempt succeeded.
    Done,
}

impl Progress {
    /// True when it is time to ask; the answer is then awaited.
    pub(crate) fn ask(&mut self, now_ms: u64) -> bool {
        let failures = match self {
            Self::Open => 0,
            Self::Failed { failures, again_ms, .. } if *again_ms <= now_ms => *failures,
            Self::Failed { .. } | Self::Asked { .. } | Self::Done => return false,
        };
        *self = Self::Asked { failures };
        true
    }

    /// False while a failure waits for its next attempt.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.deadline_ms().is_none_or(|again_ms| again_ms <= now_ms)
    }

    /// Takes the answer. True when it is the first failure in a row.
    pub(crate) fn answer<T>(&mut self, now_ms: u64, result: &Result<T, String>) -> bool {
        let failures = match self {
            Self::Asked { failures } | Self::Failed { failures, .. } => *failures,
            Self::Open | Self::Done => 0,
        };
        match result {
            Ok(_) => {
                *self = Self::Done;
                false
            }
            Err(why) => {
                let wait_ms = FIRST_WAIT_MS << failures.min(MAX_DOUBLINGS);
                *self = Self::Failed {
                    why: why.clone(),
                    failures: failures.saturating_add(1),
                    again_ms: now_ms.saturating_add(wait_ms),
                };
                failures == 0
            }
        }
    }

    /// True while an answer is awaited.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// Why the last attempt failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed { why, .. } => Some(why),
            Self::Open | Self::Asked { .. } | Self::Done => None,
        }
    }

    /// When to try again.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Failed { again_ms, .. } => Some(*again_ms),
            Self::Open | Self::Asked { .. } | Self::Done => None,
        }
    }
}

/// Long enough not to spin, short enough that an operator does not notice.
const FIRST_WAIT_MS: u64 = 500;
/// The longest wait is 64 s.
const MAX_DOUBLINGS: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_tried_again_ever_more_rarely() {
        let mut progress = Progress::Open;
        let mut now_ms = 0;
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(progress.ask(now_ms) && !progress.ask(now_ms));
            progress.answer::<()>(now_ms, &Err("busy".into()));
            let again_ms = progress.deadline_ms().expect("failed");
            assert!(!progress.ask(again_ms - 1));
            waits.push(again_ms - now_ms);
            now_ms = again_ms;
        }
        assert_eq!(
            waits,
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 64_000, 64_000]
        );
    }

    #[test]
    fn only_the_first_failure_in_a_row_is_news() {
        let mut progress = Progress::Open;
        progress.ask(0);
        assert!(progress.answer::<()>(0, &Err("busy".into())));
        progress.ask(500);
        assert!(!progress.answer::<()>(500, &Err("busy".into())));
        progress.ask(10_000);
        assert!(!progress.answer(10_000, &Ok(())));
        assert_eq!(progress, Progress::Done);
    }
}
