//! A request's body as its content: without the compression that its client has chosen, to be looked into.

use actix_web::http::header::HeaderMap;
use bytes::Bytes;

use crate::domain::refusal::Refusal;
use crate::upstream::{Coded, decode_whole};

/// A request's body without its compression; none where it has none that can be undone, so that it is the endpoint's to judge.
/// `most`: so long may it be, in bytes.
pub(super) fn plain_request(headers: &HeaderMap, body: &Bytes, most: u64) -> Result<Option<Bytes>, Refusal> {
    let Coded::By(coding) = Coded::of(headers) else { return Ok(None) };
    match decode_whole(coding, body, most) {
        Ok(Some(plain)) => Ok(Some(plain)),
        Ok(None) => Err(Refusal::BodyTooLarge { limit: most }),
        Err(_) => Ok(None),
    }
}
