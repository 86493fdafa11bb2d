//! What one access to memory costs on this machine, as a measure of what a
//! look-up in a table of some size costs at least.

use std::hint::black_box;

use crate::time::{median, stay_on_last_processor, thread_time};

/// A line of the cache, in words of eight bytes.
const LINE: usize = 8;
const STEPS: u32 = 200_000;

/// Nanoseconds for one access to a table of so many lines, each of which says
/// which one is next, so that no two accesses overlap.
pub(crate) fn access(lines: usize) -> std::io::Result<f64> {
    std::thread::scope(|scope| match scope.spawn(|| chase(lines)).join() {
        Ok(nanoseconds) => nanoseconds,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn chase(lines: usize) -> std::io::Result<f64> {
    stay_on_last_processor()?;
    let lines = lines.max(1);
    let mut table = vec![0_usize; lines * LINE];
    for (line, next) in cycle(lines).into_iter().enumerate() {
        if let Some(word) = table.get_mut(line * LINE) {
            *word = next * LINE;
        }
    }
    let mut at = 0;
    let mut samples = Vec::new();
    for _ in 0..5 {
        let begin = thread_time();
        for _ in 0..STEPS {
            at = black_box(table.get(at).copied().unwrap_or(0));
        }
        let spent = thread_time().saturating_sub(begin);
        samples.push(spent.as_secs_f64() * 1e9 / f64::from(STEPS));
    }
    Ok(median(&samples).0)
}

/// One random way through all of them and back (Sattolo's shuffle).
fn cycle(lines: usize) -> Vec<usize> {
    let mut next: Vec<usize> = (0..lines).collect();
    let mut state = 1_u64;
    for last in (1..lines).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        next.swap(last, (state >> 33) as usize % last);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_leads_through_every_line_once() {
        let next = cycle(1_000);
        let mut at = 0;
        for step in 1..=1_000 {
            at = next[at];
            assert_eq!(at == 0, step == 1_000, "after {step} steps");
        }
    }
}
