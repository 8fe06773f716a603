//! qcc-gateway.

fn main() {}
