//! Requests' bodies: the look into them, and the model's new name.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use qcc_gateway::domain::peek::{Peek, Wanted, rewrite_model};
use qcc_gateway::domain::request_body::RequestBody;

use super::client::body;

const SIZES: [(&str, usize); 3] = [("1 KB", 1 << 10), ("64 KB", 64 << 10), ("1 MB", 1 << 20)];

pub(super) fn measure(criterion: &mut Criterion) {
    for (size, length) in SIZES {
        let body = RequestBody::from(Bytes::from(body(length, true, true)));
        let peek = Peek::into_body(&body);
        assert_eq!(peek.model_name().map(|name| &**name), Some("claude-sonnet-4-5"));
        assert!(
            peek.wanted == Wanted::Stream
                && peek.session.as_deref().is_some_and(|session| session.contains("session_id"))
        );
        let mut group = criterion.benchmark_group("body");
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap_or(u64::MAX)));
        group.bench_function(format!("peek, {size}"), |bencher| bencher.iter(|| Peek::into_body(black_box(&body))));
        group.bench_function(format!("rewrite of the model, {size}"), |bencher| {
            bencher.iter(|| rewrite_model(black_box(&body), &peek, "another-name-for-it"));
        });
        group.finish();
    }
}
