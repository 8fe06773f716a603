//! qcc-gateway.

pub mod domain;
