//! A request's content: its body without the compression that the client has chosen.

use std::panic::resume_unwind;

use actix_web::http::header::HeaderMap;
use bytes::{Bytes, BytesMut};
use tokio::task::{spawn_blocking, yield_now};

use super::intake::Held;
use crate::domain::refusal::Refusal;
use crate::domain::request_body::RequestBody;
use crate::upstream::{Coded, Coding, Decoded, Decoder, Undecodable};

/// Applies `read` to a body: at once if it is no longer than `longest_at_once` bytes, else on a blocking thread, because
/// it would hold up everybody else's requests.
pub(super) async fn read_off_thread<T: Default + Send + 'static>(
    body: &RequestBody,
    longest_at_once: usize,
    read: fn(&RequestBody) -> T,
) -> T {
    if body.len() <= longest_at_once {
        return read(body);
    }
    let body = body.clone();
    match spawn_blocking(move || read(&body)).await {
        Ok(found) => found,
        // A panic goes on as if it had happened here: a body that was not read must not pass for one that says nothing.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is about to end.
            Err(_) => T::default(),
        },
    }
}

/// How a request's body is coded; `None` if it is not, or in a way that can't be undone.
pub(super) fn coding_of(headers: &HeaderMap) -> Option<Coding> {
    match Coded::of(headers) {
        Coded::By(coding) => Some(coding),
        Coded::Not | Coded::Otherwise => None,
    }
}

/// A request's body without its compression, counted in `held` too; `None` if it is not what its coding says, so that the
/// endpoint judges it. `most` is the longest it may become, in bytes.
///
/// Others on the thread get their turns meanwhile: some megabytes can take seconds to decode, and come to nothing.
pub(super) async fn plain_request(
    coding: Coding,
    body: RequestBody,
    most: u64,
    held: &mut Held,
) -> Result<Option<RequestBody>, Refusal> {
    let mut further = held.beside();
    match plain(coding, body, most, &mut further).await {
        Ok(plain) => {
            held.join(further);
            Ok(Some(plain.into()))
        }
        Err(NotPlain::Refused(refusal)) => Err(refusal),
        Err(NotPlain::Undecodable) => Ok(None),
    }
}

/// Why there is no body without its compression.
enum NotPlain {
    Refused(Refusal),
    Undecodable,
}

impl From<Undecodable> for NotPlain {
    fn from(_: Undecodable) -> Self {
        Self::Undecodable
    }
}

async fn plain(coding: Coding, body: RequestBody, most: u64, held: &mut Held) -> Result<Bytes, NotPlain> {
    let mut decoder = Decoder::new(coding)?;
    let mut coded = body.into_pieces();
    let (mut plain, mut length) = (BytesMut::new(), 0_u64);
    loop {
        let piece = match decoder.next_piece()? {
            Decoded::Piece(piece) => piece,
            Decoded::Unfinished => {
                yield_now().await;
                continue;
            }
            Decoded::Hungry => match coded.next() {
                Some(next) => {
                    decoder.feed(next);
                    continue;
                }
                None => match decoder.finish()? {
                    Some(last) => last,
                    None => return Ok(plain.freeze()),
                },
            },
        };
        let further = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        length = length.saturating_add(further);
        if length > most {
            return Err(NotPlain::Refused(Refusal::BodyTooLarge { limit: most }));
        }
        held.grow(further).map_err(NotPlain::Refused)?;
        plain.extend_from_slice(&piece);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::intake::BodyBudget;
    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// What comes of a body, how often others had their turn before that, and the most that was held meanwhile.
    fn played(body: &[u8], most: u64, held: &mut Held, budget: &BodyBudget) -> (Result<Option<Bytes>, Refusal>, usize) {
        let before = budget.held();
        let body: RequestBody = body.chunks(3000).map(Bytes::copy_from_slice).collect();
        let mut plain = pin!(plain_request(Coding::Gzip, body, most, held));
        let mut turns = 0;
        loop {
            match plain.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(end) => return (end.map(|plain| plain.map(RequestBody::into_one)), turns),
                Poll::Pending => turns += 1,
            }
            assert!(budget.held() - before <= most, "{} bytes are held", budget.held() - before);
        }
    }

    #[test]
    fn others_have_their_turns_while_a_body_is_decoded_however_little_comes_of_it() {
        let (nothing, budget) = (gzip(b""), BodyBudget::default());
        for (members, text) in [(1000, ""), (1000, "{}"), (0, "{}")] {
            let body = [nothing.repeat(members), gzip(text.as_bytes())].concat();
            let mut held = budget.hold_nothing(1000);
            let (plain, turns) = played(&body, 1000, &mut held, &budget);
            assert_eq!(plain, Ok(Some(Bytes::from_static(text.as_bytes()))));
            assert_eq!(turns, members * nothing.len() / 2048, "{members} members and {text:?}");
        }
    }

    #[test]
    fn what_comes_of_a_body_is_held_as_it_comes_and_given_back_where_nothing_does() {
        let budget = BodyBudget::default();
        let text = vec![b'x'; 10_000];
        let whole = gzip(&text);
        let torn = whole[..whole.len() - 1].to_vec();
        let too_large = Err(Refusal::BodyTooLarge { limit: 9_999 });
        for (body, most, together, end, rest) in [
            (whole.clone(), 10_000, 10_007, Ok(Some(Bytes::from(text))), 10_007),
            (torn, 10_000, 10_007, Ok(None), 7),
            (whole.clone(), 9_999, 10_007, too_large, 7),
            (whole, 10_000, 10_006, Err(Refusal::TooMuchBuffered), 7),
        ] {
            let mut held = budget.hold_nothing(together);
            held.grow(7).unwrap();
            assert_eq!(played(&body, most, &mut held, &budget).0, end);
            assert_eq!(budget.held(), rest);
            drop(held);
            assert_eq!(budget.held(), 0);
        }
    }

    #[test]
    fn a_body_whose_client_leaves_is_decoded_no_further_and_holds_nothing() {
        let budget = BodyBudget::default();
        let mut held = budget.hold_nothing(1 << 20);
        let body = [gzip(&[b'x'; 1000]), gzip(b"").repeat(1000)].concat();
        let mut plain = Box::pin(plain_request(Coding::Gzip, Bytes::from(body).into(), 1 << 20, &mut held));
        assert!(plain.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(budget.held(), 1000);
        drop(plain);
        assert_eq!(budget.held(), 0);
    }
}
