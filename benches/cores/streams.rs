//! Event streams: the scanner alone, and the relay, which lets whole events out.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use qcc_gateway::domain::sse::{Expected, Format, Progress, Relay, Scanner};

use super::upstream::{CLOSING, DELTA, OPENING};

/// Pieces of content in the stream.
const DELTAS: usize = 1000;
/// What one read of a busy connection brings.
const READ: usize = 16 << 10;

const EXPECTED: Expected = Expected { format: Format::Messages, choices: 1 };

fn events() -> impl Iterator<Item = &'static str> {
    OPENING.into_iter().chain(std::iter::repeat_n(DELTA, DELTAS)).chain(CLOSING)
}

fn scan(pieces: &[Bytes]) -> Scanner {
    let mut scanner = Scanner::new(EXPECTED);
    for piece in pieces {
        let mut rest = piece.as_ref();
        while let Some(found) = scanner.advance(rest) {
            rest = &rest[found.length..];
        }
    }
    assert_eq!(scanner.progress(), Progress::Closed);
    scanner
}

fn relay(pieces: Vec<Bytes>) -> usize {
    let mut relay = Relay::new(EXPECTED);
    let mut length = 0;
    for piece in pieces {
        relay.push(piece);
        length += std::iter::from_fn(|| relay.pop()).map(|out| out.len()).sum::<usize>();
    }
    assert_eq!(relay.progress(), Progress::Closed);
    length
}

pub(super) fn measure(criterion: &mut Criterion) {
    let whole = Bytes::from(events().collect::<String>());
    let reads: Vec<Bytes> =
        (0..whole.len()).step_by(READ).map(|at| whole.slice(at..whole.len().min(at + READ))).collect();
    let single: Vec<Bytes> = events().map(|event| Bytes::from_static(event.as_bytes())).collect();
    let length = u64::try_from(whole.len()).unwrap_or(u64::MAX);
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::ElementsAndBytes { elements: DELTAS as u64, bytes: length });
    for (cut, pieces) in [("in reads of 16 KiB", &reads), ("one by one", &single)] {
        group.bench_function(format!("scanner, {cut}"), |bencher| bencher.iter(|| scan(pieces)));
        group.bench_function(format!("relay, {cut}"), |bencher| {
            bencher.iter_batched(|| pieces.clone(), relay, BatchSize::SmallInput);
        });
    }
    group.finish();
}
