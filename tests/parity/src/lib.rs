//! What the parity tests, the benchmarks and the tests on other kernels share: a
//! network namespace with the loaded programs, generated packets and policy, and
//! the comparison itself. How much is compared is said in `tests/`.

pub mod sandbox;

pub mod agreement;

pub mod host;
pub mod network;
pub mod packets;
pub mod policies;
pub mod size;
