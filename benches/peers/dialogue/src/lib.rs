//! What is asked and what is answered, so that the load generator knows to the byte what has to come back through a proxy.
//! The benchmarks of the cores work on the same texts.

pub mod api;
pub mod chat;
pub mod client;
pub mod stamp;
pub mod upstream;
