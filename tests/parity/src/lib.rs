//! What the parity tests and the benchmarks share: a network namespace with
//! the loaded programs, generated packets, and generated policy. Whether both
//! sides agree is said in `tests/`.

pub mod packets;
pub mod policies;
pub mod sandbox;
