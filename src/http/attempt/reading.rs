//! The reading of an answer that is judged before anything of it is passed on.

use std::pin::pin;

use futures_util::StreamExt;

use super::super::alarm::{Alarm, Overdue};
use super::super::scope::AttemptScope;
use super::Limit;
use crate::domain::pieces::Pieces;
use crate::upstream::{BodyError, Content, ContentError};

/// An answer up to this size is held whole and judged before anything of it is passed on.
const HELD_WHOLE: usize = 4 << 20;

/// How the reading of an answer has ended.
pub(super) enum Reading {
    /// At the answer's end.
    Whole,
    /// That it is whole is proved by its JSON alone, for TLS was not closed as it should be.
    Unclosed,
    /// With more of it than is held.
    TooLarge,
    /// It took too long.
    Late,
    /// Before the answer's end.
    Broken(ContentError),
}

/// Reads an answer to its end, as far as it is to be held.
pub(super) async fn read_whole(
    content: &mut Content,
    pieces: &mut Pieces,
    limit: Limit,
    scope: &AttemptScope,
    alarm: &Alarm,
) -> Reading {
    loop {
        match alarm.within(limit.at, pin!(content.next())).await {
            Err(Overdue) => return Reading::Late,
            Ok(None) => return Reading::Whole,
            Ok(Some(Err(ContentError::Body(BodyError::Unclosed)))) => return Reading::Unclosed,
            Ok(Some(Err(error))) => return Reading::Broken(error),
            Ok(Some(Ok(piece))) => {
                pieces.push(piece);
                if pieces.length() > HELD_WHOLE {
                    return Reading::TooLarge;
                }
                if content.is_finished() {
                    return Reading::Whole;
                }
                scope.waits_for_endpoint(scope.now());
            }
        }
    }
}
