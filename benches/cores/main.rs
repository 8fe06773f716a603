//! What the cores cost, without sockets and threads: `cargo bench --bench cores`, with a part of a name behind `--` for some
//! of them.

#![expect(clippy::expect_used, clippy::panic, reason = "a benchmark ends where it can't measure")]

mod answers;
mod bodies;
mod registry;
mod streams;

/// The texts that the measurements beside other proxies use too.
#[path = "../peers/dialogue/src/client.rs"]
#[expect(unreachable_pub, reason = "a crate of its own elsewhere")]
mod client;
#[path = "../peers/dialogue/src/upstream.rs"]
#[expect(unreachable_pub, reason = "a crate of its own elsewhere")]
mod upstream;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    registry::measure(&mut criterion);
    answers::measure(&mut criterion);
    streams::measure(&mut criterion);
    bodies::measure(&mut criterion);
    criterion.final_summary();
}
