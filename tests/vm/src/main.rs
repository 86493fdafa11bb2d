//! The tests of the kernel programs that every kernel must pass, in one program
//! that needs no other: statically linked it is all that an emulated machine
//! holds (`cargo xtask vm`). Started by root on a usual machine it does the same
//! in namespaces of its own.
//!
//! It prints the lines of a test run, and between them what it has found out
//! about the kernel, each such line led by [`report::MARK`].
#![expect(clippy::print_stdout, reason = "the console is the only way out of the machine")]

mod checks;

mod guest;
mod report;
mod traffic;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use checks::Checks;

fn main() -> ExitCode {
    let failed = run();
    if guest::is_alone() {
        guest::power_off();
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every check, in the order in which one needs the other; how many failed.
fn run() -> usize {
    let mut checks = Checks::default();
    let mut failed = 0;
    for (name, check) in checks::ALL {
        let began = std::time::Instant::now();
        // A panic is told on the console by its own hook.
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&mut checks)));
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
        if let Err(error) = &outcome {
            println!("{name}: {error:?}");
            failed += 1;
        }
        println!("test {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        report::line("took", &format!("{:.1} s for {name}", began.elapsed().as_secs_f64()));
    }
    let passed = checks::ALL.len() - failed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
    failed
}
