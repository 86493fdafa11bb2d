//! The demonstration: prints one table of probes and ends with 1 when one of
//! them went otherwise than expected.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let n_different = hostfw_scenario::demo::run(&mut |line| println!("{line}"));
    if n_different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
