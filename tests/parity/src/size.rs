//! How large the programs may become. The kernel gives up after a million
//! verified instructions, and a change that eats up the room shows here first.
//! Every bound leaves some room above what docs/kernels.md shows: a twentieth where
//! Linux 6.1 has least, up to a third elsewhere.

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{Kernel, Size};

/// The bounds of one program.
struct Bound {
    program: &'static str,
    /// Verified instructions since Linux 6.2, and before: an older verifier
    /// tells paths apart by every number as soon as a program has functions.
    verified: u32,
    verified_before_6_2: u32,
    translated_bytes: u32,
    machine_bytes: u32,
}

const BOUNDS: [Bound; 4] = [
    Bound {
        program: "hostfw_in_eth",
        verified: 175_000,
        verified_before_6_2: 600_000,
        translated_bytes: 127_000,
        machine_bytes: 69_000,
    },
    Bound {
        program: "hostfw_out_eth",
        verified: 165_000,
        verified_before_6_2: 500_000,
        translated_bytes: 127_000,
        machine_bytes: 69_000,
    },
    Bound {
        program: "hostfw_in_ip",
        verified: 172_000,
        verified_before_6_2: 600_000,
        translated_bytes: 127_000,
        machine_bytes: 69_000,
    },
    Bound {
        program: "hostfw_out_ip",
        verified: 162_000,
        verified_before_6_2: 450_000,
        translated_bytes: 127_000,
        machine_bytes: 69_000,
    },
];

/// Refuses programs that are larger than they may be on a kernel of this
/// version.
///
/// # Errors
/// The first program above a bound, or without one.
pub fn bounded(sizes: &[Size], kernel: (u32, u32)) -> anyhow::Result<()> {
    ensure!(!sizes.is_empty(), "no program is loaded");
    for Size { program, verified, translated_bytes, machine_bytes } in sizes {
        let bound = BOUNDS.iter().find(|bound| bound.program == *program);
        let bound = bound.with_context(|| format!("{program} has no bound"))?;
        let most = if kernel < (6, 2) { bound.verified_before_6_2 } else { bound.verified };
        let bounds = [
            ("verified instructions", verified.unwrap_or(0), most),
            ("translated bytes", *translated_bytes, bound.translated_bytes),
            ("bytes of machine code", *machine_bytes, bound.machine_bytes),
        ];
        for (what, found, most) in bounds {
            ensure!(found <= most, "{program}: {found} {what}, at most {most} are allowed");
        }
    }
    Ok(())
}

/// The first two numbers of the running kernel's version.
///
/// # Errors
/// A version that is no Linux version.
pub fn kernel_version() -> anyhow::Result<(u32, u32)> {
    let release = Kernel::release();
    version(&release).with_context(|| format!("{release} is no version"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_above_its_bound_is_refused_by_name() {
        let size = Size {
            program: "hostfw_out_ip",
            verified: Some(300_000),
            translated_bytes: 30_000,
            machine_bytes: 18_000,
        };
        assert!(bounded(&[size], (6, 1)).is_ok());
        let refused = bounded(&[size], (6, 12)).expect_err("too many");
        assert!(refused.to_string().starts_with("hostfw_out_ip: 300000 verified"), "{refused}");
        assert!(bounded(&[], (6, 12)).is_err());
    }

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.12.117+deb13-cloud-amd64"), Some((6, 12)));
        assert_eq!(version("5.10.0-46-cloud-amd64\n"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
    }
}
