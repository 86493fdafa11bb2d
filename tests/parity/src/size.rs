//! How large the programs may become. The kernel gives up after a million
//! verified instructions, and a change that eats up the room shows here first.

use anyhow::ensure;
use hostfw_daemon::kernel::Size;

/// A quarter above the most that a kernel of docs/kernels.md has said.
pub const MOST_VERIFIED: u32 = 200_000;
/// See [`MOST_VERIFIED`].
pub const MOST_TRANSLATED_BYTES: u32 = 100_000;
/// See [`MOST_VERIFIED`].
pub const MOST_MACHINE_BYTES: u32 = 100_000;

/// Refuses programs that are larger than they may be.
///
/// # Errors
/// The first program above a bound.
pub fn bounded(sizes: &[Size]) -> anyhow::Result<()> {
    ensure!(!sizes.is_empty(), "no program is loaded");
    for Size { program, verified, translated_bytes, machine_bytes } in sizes {
        let bounds = [
            ("verified instructions", verified.unwrap_or(0), MOST_VERIFIED),
            ("translated bytes", *translated_bytes, MOST_TRANSLATED_BYTES),
            ("bytes of machine code", *machine_bytes, MOST_MACHINE_BYTES),
        ];
        for (what, found, most) in bounds {
            ensure!(found <= most, "{program}: {found} {what}, at most {most} are allowed");
        }
    }
    Ok(())
}
