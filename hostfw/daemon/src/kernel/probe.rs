//! What this kernel can do, found out by trying it. A version number proves
//! nothing, because distributions bring features back; it only explains what a
//! trial has shown to be missing.

use std::{fmt, io};

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{BpfHelper, is_helper_supported, is_map_supported},
};

use super::{KernelError, sys};

/// Something that not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Arrays that are shared memory: images and the control word.
    SharedArrays,
    /// The kernel's tick counter: ages of flows and of counters.
    Ticks,
    /// Ring buffers: events.
    RingBuffers,
    /// Links on a device that need no queue and have an order.
    Tcx,
}

impl Feature {
    /// All of them, the oldest first.
    pub const ALL: [Self; 4] = [Self::SharedArrays, Self::Ticks, Self::RingBuffers, Self::Tcx];

    /// The first Linux with it.
    pub const fn since(self) -> (u32, u32) {
        match self {
            Self::SharedArrays => (5, 5),
            Self::Ticks => (5, 6),
            Self::RingBuffers => (5, 8),
            Self::Tcx => (6, 6),
        }
    }

    /// True when nothing works without it.
    pub const fn is_needed(self) -> bool {
        match self {
            Self::SharedArrays | Self::Ticks | Self::RingBuffers => true,
            Self::Tcx => false,
        }
    }

    /// Tries it. `None` when the kernel did not let us try, for example without
    /// privilege.
    pub fn is_there(self) -> Option<bool> {
        match self {
            Self::SharedArrays => tried(sys::create_words(1)),
            Self::Ticks => {
                let program = ProgramType::SchedClassifier;
                match is_helper_supported(program, BpfHelper::BPF_FUNC_jiffies64) {
                    Err(ProgramError::SyscallError(error)) => not_allowed(error.io_error),
                    answer => answer.ok(),
                }
            }
            Self::RingBuffers => match is_map_supported(MapType::RingBuf) {
                Err(error) => not_allowed(error.io_error),
                Ok(answer) => Some(answer),
            },
            // Every network namespace has a device 1, the loopback device.
            Self::Tcx => tried(sys::hook_programs(1, false)),
        }
    }

    /// What this kernel was tried for and does not have.
    pub fn lacking() -> Vec<Self> {
        Self::ALL.into_iter().filter(|feature| feature.is_there() == Some(false)).collect()
    }
}

/// One sentence for whoever runs a kernel without it.
impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, without) = match self {
            Self::SharedArrays => ("shared arrays need", "the programs do not load"),
            Self::Ticks => ("the tick counter needs", "the programs do not load"),
            Self::RingBuffers => ("ring buffers need", "the programs do not load"),
            Self::Tcx => ("tcx needs", "devices are filtered with clsact"),
        };
        let (major, minor) = self.since();
        write!(f, "{what} Linux {major}.{minor}: {without}")
    }
}

/// Puts the reason before an error when the kernel lacks what nothing works
/// without.
pub(super) fn explain(error: KernelError) -> KernelError {
    explain_by(error, Feature::is_there)
}

fn explain_by(error: KernelError, is_there: impl Fn(Feature) -> Option<bool>) -> KernelError {
    let needed = Feature::ALL.into_iter().filter(|feature| feature.is_needed());
    match needed.into_iter().find(|feature| is_there(*feature) == Some(false)) {
        Some(feature) => KernelError::Lacking { feature, source: Box::new(error) },
        None => error,
    }
}

fn tried<T>(outcome: io::Result<T>) -> Option<bool> {
    match outcome {
        Ok(_) => Some(true),
        Err(error) => not_allowed(error),
    }
}

/// A refusal for want of privilege says nothing about the kernel.
fn not_allowed(error: io::Error) -> Option<bool> {
    (error.kind() != io::ErrorKind::PermissionDenied).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_version_that_brings_it() {
        assert_eq!(
            Feature::Tcx.to_string(),
            "tcx needs Linux 6.6: devices are filtered with clsact"
        );
        let explained =
            explain_by(KernelError::NoObject, |feature| Some(feature != Feature::RingBuffers));
        assert_eq!(explained.to_string(), "ring buffers need Linux 5.8: the programs do not load");
        let KernelError::Lacking { source, .. } = explained else { panic!("{explained:?}") };
        assert!(matches!(*source, KernelError::NoObject));
    }

    #[test]
    fn a_kernel_that_has_everything_or_may_not_be_asked_is_not_blamed() {
        for answer in [Some(true), None] {
            let same = explain_by(KernelError::NoObject, |_| answer);
            assert!(matches!(same, KernelError::NoObject), "{same:?}");
        }
        let without_tcx =
            explain_by(KernelError::NoObject, |feature| Some(feature != Feature::Tcx));
        assert!(matches!(without_tcx, KernelError::NoObject), "{without_tcx:?}");
    }

    #[test]
    fn a_refused_trial_proves_nothing() {
        let refused = |code| tried::<()>(Err(io::Error::from_raw_os_error(code)));
        assert_eq!(refused(libc::EPERM), None);
        assert_eq!(refused(libc::EACCES), None);
        assert_eq!(refused(libc::EINVAL), Some(false));
        assert_eq!(tried(Ok(())), Some(true));
    }
}
