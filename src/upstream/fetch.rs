//! A whole exchange in one call, for what the gateway asks or tells others on its own account.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::client::{Always, Client, Request, Response};
use super::error::{BodyError, SendError};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No head came.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The body did not come whole.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It took too long.
    #[error("it took longer than {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// It is too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl Client {
    /// Sends a request and reads its answer of at most `limit` bytes, all within `time`.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn fetch(&self, request: Request<'_>, limit: usize, time: Duration) -> Result<Fetched, FetchError> {
        let exchange = async {
            let response = self.send(request, &Always, time).await?;
            let status = response.status;
            Ok(Fetched { status, body: whole(response, limit).await? })
        };
        tokio::time::timeout(time, exchange).await.map_err(|_| FetchError::TimedOut(time))?
    }
}

async fn whole(mut response: Response, limit: usize) -> Result<Bytes, FetchError> {
    let mut received = BytesMut::new();
    while let Some(piece) = response.body.next().await {
        match piece {
            Ok(piece) => received.extend_from_slice(&piece),
            // The reader sees by its content whether it is whole.
            Err(BodyError::Unclosed) => break,
            Err(error) => return Err(error.into()),
        }
        if received.len() > limit {
            return Err(FetchError::TooLong(limit));
        }
    }
    Ok(received.freeze())
}
