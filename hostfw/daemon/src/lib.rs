//! What `hostfwd` shares with tests, as a library: the local API, which the
//! fuzzing tests talk to, and the kernel's side, which the parity tests and the
//! benchmarks use, with the netlink that both sides speak.

pub mod api;
pub mod kernel;
pub mod netlink;
