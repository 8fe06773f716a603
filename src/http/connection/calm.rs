//! A connection whose client has sent far more than can be looked at yet.
//!
//! Where so much lies unread behind a request under way, actix polls the connection again at once, for as long as that request
//! takes, and does not read on: the whole processor would be gone with it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::Handle;

/// How long such a connection rests.
const REST: Duration = Duration::from_millis(10);

/// Serves a connection, with a rest after each turn in which there was nothing to do for it but to be polled again.
pub(in crate::http) async fn calmly<F: Future>(served: F, connection: Handle) -> F::Output {
    let mut served = pin!(served);
    loop {
        let turn = poll_fn(|cx| {
            let reads = connection.reads();
            match served.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if connection.waits_without_reading(reads) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match turn.await {
            Some(output) => return output,
            None => tokio::time::sleep(REST).await,
        }
    }
}
