//! Properties of the data path that no single example shows: whatever a packet
//! is made of, it reads as what it is, and no piece of it fares better than the
//! whole.

mod cutting;
mod drawn;
mod lookups;
mod reading;
