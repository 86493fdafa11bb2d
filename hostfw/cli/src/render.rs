//! Reports as text: one module per report, each a pure function from a report
//! and a [`Page`] to a string that ends in a newline. Nothing here asks the
//! terminal, the clock or the daemon.

pub(crate) mod figures;
pub(crate) mod page;
pub(crate) mod table;

pub(crate) mod complaint;
pub(crate) mod reload;
pub(crate) mod status;

pub(crate) mod links;
pub(crate) mod metrics;
pub(crate) mod rules;

pub(crate) mod audit;
pub(crate) mod connections;

pub(crate) mod cases;
pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod github;
pub(crate) mod sarif;
pub(crate) mod trace;

#[cfg(test)]
pub(crate) mod fixture;

pub(crate) use self::page::Page;
