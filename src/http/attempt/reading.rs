//! Reads an answer that is judged before anything of it is passed on.

use std::pin::pin;

use futures_util::StreamExt;

use super::super::alarm::Overdue;
use super::super::intake::Held;
use super::super::scope::AttemptScope;
use super::{Flow, Task};
use crate::domain::pieces::Pieces;
use crate::domain::refusal::Refusal;
use crate::upstream::{BodyError, Content, ContentError};

/// An answer up to this size, in bytes, is held whole and judged before anything of it is passed on.
const HELD_WHOLE: usize = 4 << 20;

/// Beyond this size, in bytes, what is held of an answer counts against the budget, in steps of this size. A smaller
/// answer costs no more than a head does, and is judged even when nothing more may be buffered.
const STEP: usize = 64 << 10;

/// How reading an answer ended.
pub(super) enum Reading {
    /// At the answer's end.
    Whole,
    /// At the connection's end, without a TLS closure: only its JSON proves that it is whole.
    Unclosed,
    /// It is larger than is held, or than the budget allows.
    TooLarge,
    /// It took too long.
    Late,
    /// Before the answer's end.
    Broken(ContentError),
}

impl Task<'_> {
    /// Reads an answer to its end, as far as it may be held.
    pub(super) async fn read_whole(
        &self,
        content: &mut Content,
        pieces: &mut Pieces,
        flow: &mut Flow,
        scope: &AttemptScope,
    ) -> Reading {
        // How many bytes may be held before the share has to grow.
        let mut covered = STEP;
        loop {
            match self.alarm.within(flow.limit.at, pin!(content.next())).await {
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
                    if pieces.length() > covered {
                        covered = pieces.length().next_multiple_of(STEP);
                        if self.hold(covered, &mut flow.share).is_err() {
                            return Reading::TooLarge;
                        }
                    }
                    scope.waits_for_endpoint(scope.now());
                }
            }
        }
    }

    /// Counts this many bytes of an answer as held, if that is enough to count.
    pub(super) fn hold(&self, length: usize, share: &mut Option<Held>) -> Result<(), Refusal> {
        if length <= STEP {
            return Ok(());
        }
        let share = share.get_or_insert_with(|| self.buffered.hold_nothing(self.together));
        share.grow_to(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
