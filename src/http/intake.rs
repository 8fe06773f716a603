//! Takes in a request's body: bounded in size, in time, and over all requests together.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use actix_http::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

use super::connection::ClientSide;
use super::drain::DrainDeadline;
use super::times::deadline;
use crate::domain::pieces::Pieces;
use crate::domain::refusal::Refusal;
use crate::domain::request_body::RequestBody;
use crate::settings::Server;

/// How much of all requests' bodies and heads, and of answers that are not judged yet, is held at the moment.
#[derive(Clone, Debug, Default)]
pub(super) struct BodyBudget {
    held: Arc<AtomicU64>,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: BodyBudget,
    bytes: u64,
    /// The most that all requests may hold.
    limit: u64,
}

impl BodyBudget {
    /// How much is held, in bytes.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// A share of nothing yet; it may grow until all shares together are `limit`.
    pub(super) fn hold_nothing(&self, limit: u64) -> Held {
        Held { budget: self.clone(), bytes: 0, limit }
    }
}

impl Held {
    /// Takes `bytes` more, and refuses if all shares together then exceed the limit. Even then the bytes stay counted
    /// until they are given back.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Refusal> {
        let before = self.budget.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.limit { Err(Refusal::TooMuchBuffered) } else { Ok(()) }
    }

    /// Grows to `bytes` in all, if it has less.
    pub(super) fn grow_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.grow(bytes.saturating_sub(self.bytes))
    }

    /// An empty share of the same budget.
    pub(super) fn beside(&self) -> Self {
        self.budget.hold_nothing(self.limit)
    }

    /// Moves what it has taken to a share of its own; `None` if that is nothing.
    pub(super) fn taken(&mut self) -> Option<Self> {
        let bytes = std::mem::take(&mut self.bytes);
        (bytes > 0).then(|| Self { budget: self.budget.clone(), bytes, limit: self.limit })
    }

    /// Takes over what another share of the same budget has taken.
    pub(super) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what it has taken.
    pub(super) fn release(&mut self) {
        self.budget.held.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// The limits of bodies.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// The longest body, in bytes.
    pub(super) size: u64,
    /// The most that all shares may hold at a time, in bytes.
    pub(super) together: u64,
    /// The longest pause between two pieces.
    pub(super) pause: Duration,
}

impl BodyLimits {
    pub(super) fn of(server: &Server) -> Self {
        Self { size: server.max_body, together: server.max_buffered, pause: server.body_timeout }
    }
}

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoBody {
    /// The gateway refuses it.
    Refused(Refusal),
    /// The client broke off.
    ClientGone,
}

impl From<Refusal> for NoBody {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A body's length in bytes, if its head announces it.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads a whole body. It is given up if it is still incomplete when a drain's time is up.
pub(super) async fn read_body(
    payload: &mut Payload,
    headers: &HeaderMap,
    limits: BodyLimits,
    budget: &BodyBudget,
    client: &ClientSide,
    drain: &DrainDeadline,
) -> Result<(RequestBody, Held), NoBody> {
    let too_large = Refusal::BodyTooLarge { limit: limits.size };
    if announced_length(headers).is_some_and(|length| length > limits.size) {
        return Err(too_large.into());
    }
    let mut held = budget.hold_nothing(limits.together);
    // A small one comes in one piece, which is taken as it is.
    let (mut first, mut further) = (Bytes::new(), Pieces::default());
    let is_chunked = headers.contains_key(TRANSFER_ENCODING);
    let mut has_let_come = false;
    loop {
        let next = match payload.next().now_or_never() {
            Some(next) => next,
            // What came with the head is handed on right after it, so it may be there in the next turn, before a deadline
            // is set.
            None if !std::mem::replace(&mut has_let_come, true) => {
                next_turn().await;
                continue;
            }
            None => next_piece(payload, limits.pause, client, drain).await?,
        };
        let piece = match next {
            Some(Ok(piece)) => piece,
            Some(Err(PayloadError::Incomplete(_) | PayloadError::Io(_))) => return Err(NoBody::ClientGone),
            Some(Err(_)) => return Err(Refusal::Malformed { what: "body" }.into()),
            None if further.is_empty() => return Ok((first.into(), held)),
            None => return Ok((std::iter::from_fn(|| further.pop()).collect(), held)),
        };
        // A slice keeps all of its buffer alive, and what lies between the parts of a chunked body may be as long as the
        // client likes.
        let piece = if is_chunked { Bytes::copy_from_slice(&piece) } else { piece };
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        held.grow(length)?;
        if held.bytes > limits.size {
            return Err(too_large.into());
        }
        if first.is_empty() && further.is_empty() {
            first = piece;
            continue;
        }
        further.push(std::mem::take(&mut first));
        further.push(piece);
    }
}

/// Goes on at the next poll, which is at once: tokio's `yield_now` would have the runtime look at all sockets first.
async fn next_turn() {
    let mut is_next = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_next, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for the next piece of a body.
async fn next_piece(
    payload: &mut Payload,
    pause: Duration,
    client: &ClientSide,
    drain: &DrainDeadline,
) -> Result<Option<Result<Bytes, PayloadError>>, Refusal> {
    let due = deadline(pause);
    poll_fn(|cx| match payload.poll_next_unpin(cx) {
        Poll::Ready(next) => Poll::Ready(Ok(next)),
        Poll::Pending if client.alarm().is_overdue(due, cx) => Poll::Ready(Err(Refusal::BodyTooSlow)),
        Poll::Pending => client.poll_drained(drain, cx).map(|()| Err(Refusal::Stopping)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    type BoxedPayloadStream = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, PayloadError>>>>;

    /// A body that comes in these pieces.
    async fn read(
        pieces: Vec<Bytes>,
        headers: &HeaderMap,
        limits: BodyLimits,
        budget: &BodyBudget,
    ) -> Result<(RequestBody, Held), NoBody> {
        let pieces = pieces.into_iter().map(Ok).collect::<Vec<_>>();
        let stream: BoxedPayloadStream = Box::pin(futures_util::stream::iter(pieces));
        let (client, drain) = (ClientSide::of(&actix_http::Request::new()), DrainDeadline::default());
        read_body(&mut Payload::from(stream), headers, limits, budget, &client, &drain).await
    }

    /// Small pieces, and some of a size at which they are kept as they are.
    fn any_length() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 0..40_usize, 1 => (32 << 10) - 1..(32 << 10) + 3_usize]
    }

    proptest! {
        /// However it is cut, it is what was sent, or more than may be held, and what it held is given back.
        #[test]
        fn a_body_is_all_of_its_pieces_or_refused(
            lengths in prop::collection::vec(any_length(), 0..20),
            size in prop_oneof![0..400_u64, Just(1 << 20)],
            shared in prop_oneof![0..400_u64, Just(1 << 20)],
        ) {
            let budget = BodyBudget::default();
            let limits = BodyLimits { size, together: shared, pause: Duration::from_secs(10) };
            let pieces = lengths.iter().enumerate();
            let pieces: Vec<Bytes> = pieces.map(|(number, length)| vec![u8::try_from(number).unwrap(); *length].into()).collect();
            let sent = pieces.concat();
            let total = u64::try_from(sent.len()).unwrap();
            let read = actix_rt::System::new().block_on(read(pieces, &HeaderMap::new(), limits, &budget));
            match read {
                Ok((body, held)) => {
                    prop_assert!(total <= size && total <= shared);
                    prop_assert_eq!(body.into_one(), sent);
                    prop_assert_eq!((held.bytes, budget.held.load(Ordering::Relaxed)), (total, total));
                }
                Err(NoBody::Refused(Refusal::BodyTooLarge { limit })) => prop_assert!(total > size && limit == size),
                Err(NoBody::Refused(Refusal::TooMuchBuffered)) => prop_assert!(total > shared),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
            prop_assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        }
    }

    /// Found by reading: what stood between the chunks was held with them, and counted nowhere.
    #[actix_web::test]
    async fn of_a_chunked_body_nothing_is_held_but_its_bytes() {
        let buffer = Bytes::from(vec![b'x'; 256 << 10]);
        let limits = BodyLimits { size: 1 << 20, together: 1 << 20, pause: Duration::from_secs(10) };
        for (name, value, is_copied) in [(TRANSFER_ENCODING, "chunked", true), (CONTENT_LENGTH, "80002", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let pieces = vec![buffer.slice(..40_001), buffer.slice(120_000..160_001)];
            let (body, _held) = read(pieces, &headers, limits, &BodyBudget::default()).await.unwrap();
            assert_eq!(body.len(), 80_002);
            for piece in body.pieces() {
                assert_eq!(!buffer.as_ptr_range().contains(&piece.as_ptr()), is_copied, "{value}");
            }
        }
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = BodyBudget::default();
        let mut first = budget.hold_nothing(10);
        let mut second = budget.hold_nothing(10);
        assert_eq!(first.grow(6), Ok(()));
        assert_eq!(second.grow(6), Err(Refusal::TooMuchBuffered));
        drop(second);
        assert_eq!(first.grow(4), Ok(()));
        drop(first);
        assert_eq!(budget.held(), 0);
    }
}
