//! An event stream on its way: whatever its bytes are and however they are cut, the same goes out and it ends alike.

use bytes::Bytes;
use qcc_gateway::domain::sse::{Ending, Expected, Failure, Format, Progress, Relay};

/// All that can be seen of a stream that was relayed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    out: Vec<u8>,
    progress: Progress,
    has_closed_without_answer: bool,
    next_number: u64,
    failure: Option<Failure>,
    ending: Ending,
    behind: Vec<u8>,
}

fn pop(relay: &mut Relay) -> Vec<u8> {
    std::iter::from_fn(|| relay.pop()).flatten().collect()
}

fn relayed<'a>(expected: Expected, pieces: impl IntoIterator<Item = &'a [u8]>, in_order: bool) -> Seen {
    let mut relay = Relay::new(expected);
    let mut out = Vec::new();
    let mut pushed = 0;
    for piece in pieces {
        relay.push(Bytes::copy_from_slice(piece));
        pushed += piece.len();
        assert!(relay.held() <= pushed);
        out.extend(pop(&mut relay));
    }
    let progress = relay.progress();
    let failure = relay.take_failure();
    let ending = relay.end(in_order);
    let behind = pop(&mut relay);
    let failure = failure.or_else(|| relay.take_failure());
    Seen {
        out,
        progress,
        has_closed_without_answer: relay.has_closed_without_answer(),
        next_number: relay.next_number(),
        failure,
        ending,
        behind,
    }
}

/// The first byte says how the stream is written, how many choices it has and how it is cut; the rest is the stream.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&how, stream)) = bytes.split_first() else { return };
    let format = match how & 3 {
        0 => Format::Messages,
        1 => Format::Chat,
        2 => Format::Completions,
        _ => Format::Responses,
    };
    let expected = Expected { format, choices: u32::from(how >> 2 & 3).max(1) };
    let in_order = how & 16 == 0;
    let whole = relayed(expected, [stream], in_order);
    assert!(stream.starts_with(&whole.out), "what goes out is the beginning of what came");
    let size = usize::from(how >> 5) + 1;
    let cut = relayed(expected, stream.chunks(size), in_order);
    assert_eq!(cut, whole, "cut into pieces of {size}");
}
