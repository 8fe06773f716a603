//! The events as an event stream (the HTML standard, "server-sent events"): what was missed, and then each as it comes.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt, iter, unfold};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{timeout, timeout_at};

use super::super::super::times::deadline;
use super::Row;
use crate::actors::messages::Subscription;
use crate::clock::Clock;
use crate::domain::events::Event;

/// The timing of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// After this long without an event a comment says that the stream still lives.
    heartbeat: Duration,
    /// No stream lasts longer: its client comes again with its last number, and must still be allowed to read.
    longest: Duration,
}

impl Pace {
    pub(super) const USUAL: Self = Self { heartbeat: Duration::from_secs(15), longest: Duration::from_mins(10) };
}

/// Sent first: how long, in milliseconds, a client that loses the stream should wait before it comes again.
const OPENING: &str = "retry: 2000\n\n";
const STILL_HERE: &str = ": still here\n\n";

/// The body of the answer. It ends if its client lags behind, when the gateway stops, and after its longest time.
pub(super) fn follow(
    subscription: Subscription,
    clock: Clock,
    pace: Pace,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let Subscription { missed, coming } = subscription;
    let missed = missed.into_iter().map(move |(number, event)| framed(number, event, clock));
    let opening = std::iter::once(Bytes::from_static(OPENING.as_bytes())).chain(missed);
    let over = deadline(pace.longest);
    let coming = unfold(coming, move |mut coming| async move {
        let piece = match timeout_at(over, timeout(pace.heartbeat, coming.recv())).await {
            Ok(Ok(Ok(event))) => framed(event.0, event.1.clone(), clock),
            Ok(Err(_silence)) => Bytes::from_static(STILL_HERE.as_bytes()),
            Ok(Ok(Err(RecvError::Lagged(_) | RecvError::Closed))) | Err(_) => return None,
        };
        Some((piece, coming))
    });
    iter(opening).chain(coming).map(Ok)
}

/// An event in the stream's format. JSON has no line ends of its own.
fn framed(number: u64, event: Event, clock: Clock) -> Bytes {
    // A row is made of numbers and strings, which JSON can always hold.
    let row = serde_json::to_string(&Row::new(number, event, clock)).unwrap_or_default();
    format!("id: {number}\ndata: {row}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::broadcast;

    use super::*;
    use crate::domain::events::EventKind;
    use crate::domain::testing::id;
    use crate::domain::time::Moment;

    fn event() -> Event {
        Event::new(EventKind::Verified, Moment::START, &id("a"))
    }

    fn text(piece: Option<Result<Bytes, Infallible>>) -> String {
        let Ok(piece) = piece.unwrap();
        String::from_utf8(piece.to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn what_was_missed_comes_first_and_who_lags_behind_is_cut_off() {
        let (sender, coming) = broadcast::channel(2);
        let subscription = Subscription { missed: vec![(7, event())], coming };
        let mut stream = std::pin::pin!(follow(subscription, Clock::start(), Pace::USUAL));
        assert_eq!(text(stream.next().await), OPENING);
        let first = text(stream.next().await);
        assert!(first.starts_with("id: 7\ndata: {\"seq\":7,") && first.ends_with("}\n\n"), "{first}");
        sender.send(Arc::new((8, event()))).unwrap();
        assert!(text(stream.next().await).starts_with("id: 8\n"));
        for number in 9..12 {
            sender.send(Arc::new((number, event()))).unwrap();
        }
        assert!(stream.next().await.is_none());
    }

    #[actix_web::test]
    async fn it_ends_with_its_source() {
        let (sender, coming) = broadcast::channel(2);
        let mut stream = std::pin::pin!(follow(Subscription { missed: vec![], coming }, Clock::start(), Pace::USUAL));
        assert_eq!(text(stream.next().await), OPENING);
        drop(sender);
        assert!(stream.next().await.is_none());
    }

    #[actix_web::test]
    async fn while_nothing_happens_it_says_that_it_lives_and_it_ends_in_time() {
        let (_sender, coming) = broadcast::channel(2);
        let pace = Pace { heartbeat: Duration::from_millis(10), longest: Duration::from_millis(100) };
        let stream = follow(Subscription { missed: vec![], coming }, Clock::start(), pace);
        let told: Vec<String> = stream.map(|piece| text(Some(piece))).collect().await;
        assert_eq!(told[0], OPENING);
        assert!(told.len() > 1 && told[1..].iter().all(|piece| piece == STILL_HERE), "{told:?}");
    }
}
