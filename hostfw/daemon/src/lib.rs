//! The kernel's side of `hostfwd`, as a library: the daemon uses it, and so do
//! the parity tests and the benchmarks.

pub mod kernel;
