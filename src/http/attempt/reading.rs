//! The reading of an answer that is judged before anything of it is passed on.

use std::pin::pin;

use futures_util::StreamExt;

use super::super::alarm::Overdue;
use super::super::intake::Held;
use super::super::scope::AttemptScope;
use super::{Flow, Task};
use crate::domain::pieces::Pieces;
use crate::domain::refusal::Refusal;
use crate::upstream::{BodyError, Content, ContentError};

/// An answer up to this size is held whole and judged before anything of it is passed on.
const HELD_WHOLE: usize = 4 << 20;

/// Beyond this size what is held of an answer is counted, in steps of it. A smaller answer costs no more than a head does, and is
/// judged even where nothing more may be buffered.
const STEP: usize = 64 << 10;

/// How the reading of an answer has ended.
pub(super) enum Reading {
    /// At the answer's end.
    Whole,
    /// That it is whole is proved by its JSON alone, for TLS was not closed as it should be.
    Unclosed,
    /// With more of it than is held, or than may be held together with all others.
    TooLarge,
    /// It took too long.
    Late,
    /// Before the answer's end.
    Broken(ContentError),
}

impl Task<'_> {
    /// Reads an answer to its end, as far as it is to be held.
    pub(super) async fn read_whole(
        &self,
        content: &mut Content,
        pieces: &mut Pieces,
        flow: &mut Flow,
        scope: &AttemptScope,
    ) -> Reading {
        // How much may be held before more has to be taken.
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

    /// Counts so much of an answer as held, where it is enough to be counted.
    pub(super) fn hold(&self, length: usize, share: &mut Option<Held>) -> Result<(), Refusal> {
        if length <= STEP {
            return Ok(());
        }
        let share = share.get_or_insert_with(|| self.buffered.hold_nothing(self.together));
        share.grow_to(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
