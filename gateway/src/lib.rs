//! Tidegate: a gateway in front of self-hosted machine-learning models.
//!
//! The modules stand in layers, low to high; a module uses lower layers only
//! (`tests/tests/tidy.rs` fails on an upward or sideways use). Start reading at
//! `exchange`, which is the life of a request.

// Layer 0
pub mod descriptors;
pub mod durable;
pub mod event;
pub mod fault;
pub mod id;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod name;
pub mod shutdown;
pub mod state;
pub mod units;
// Layer 1
pub mod balance;
pub mod breaker;
pub mod queue;
pub mod resource;
pub mod scale;
pub mod split;
// Layer 2
pub mod fetch;
pub mod identity;
pub mod journal;
pub mod store;
pub mod upstream;
// Layer 3
pub mod fleet;
pub mod policy;
pub mod runtime;
// Layer 4
pub mod outbox;
pub mod table;
// Layer 5
pub mod collector;
pub mod exchange;
pub mod reconcile;
// Layer 6
pub mod listen;
// Layer 7
pub mod admin;
// Layer 8
pub mod app;
pub mod cli;
