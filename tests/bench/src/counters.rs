//! What the kernel has counted for the calling thread's namespace.

use std::fs;

use anyhow::Context;

/// Packets that `eth0` has received, and that it has sent.
pub(crate) fn packets() -> anyhow::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").context("read the counters")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let line = line.context("the device is there")?;
    let field = |place| line.split_whitespace().nth(place).and_then(|word| word.parse().ok());
    field(1).zip(field(9)).context("counts of packets")
}
