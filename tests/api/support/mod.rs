//! What the tests of the whole gateway stand on. Nothing in here uses the gateway's own code, so that a fault in it
//! can't hide itself.

pub(crate) mod app;
pub(crate) mod eventually;
pub(crate) mod gates;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod raw_client;
pub(crate) mod streaming;
pub(crate) mod upstream;
pub(crate) mod wire;
pub(crate) mod witness;

mod selftest;
