//! The latest log lines.

use actix_http::Request;
use actix_web::HttpResponse;
use log::Level;
use serde_json::json;

use super::query_of;
use crate::telemetry::{MAX_LINES, Query, latest};

/// How many lines are given if the query names no number.
const USUAL_LINES: usize = 100;

/// Answers with the latest lines that fit the query, newest last.
pub(super) async fn logs(request: &Request) -> HttpResponse {
    match query(query_of(request)) {
        Err(error) => HttpResponse::BadRequest().json(json!({ "error": error.to_string() })),
        Ok(query) => match latest(query).await {
            Ok(lines) => HttpResponse::Ok().json(json!({ "lines": lines })),
            Err(error) => HttpResponse::Conflict().json(json!({ "error": error.to_string() })),
        },
    }
}

/// What is wrong with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BadQuery {
    #[error("`lines` is a number from 1 to {MAX_LINES}")]
    Lines,
    #[error("`level` is one of error, warn, info, debug, trace: lines as grave as this, or graver")]
    Level,
}

fn query(text: &str) -> Result<Query, BadQuery> {
    let mut query = Query { lines: USUAL_LINES, level: Level::Trace, grep: String::new() };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "lines" => {
                let lines = value.parse().ok().filter(|lines| (1..=MAX_LINES).contains(lines));
                query.lines = lines.ok_or(BadQuery::Lines)?;
            }
            "level" => query.level = value.parse().map_err(|_| BadQuery::Level)?,
            "grep" => query.grep = value.into_owned(),
            _ => {}
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_and_a_bad_one_refused() {
        let wanted = |lines, level, grep: &str| Ok(Query { lines, level, grep: grep.to_owned() });
        for (text, read) in [
            ("", wanted(100, Level::Trace, "")),
            ("lines=5&level=warn&grep=a+b%3D", wanted(5, Level::Warn, "a b=")),
            ("level=ERROR&x=1", wanted(100, Level::Error, "")),
            ("grep=", wanted(100, Level::Trace, "")),
            ("lines=2000", wanted(2000, Level::Trace, "")),
            ("lines=2001", Err(BadQuery::Lines)),
            ("lines=0", Err(BadQuery::Lines)),
            ("lines=-1", Err(BadQuery::Lines)),
            ("lines=", Err(BadQuery::Lines)),
            ("level=loud", Err(BadQuery::Level)),
            ("level=", Err(BadQuery::Level)),
            ("level=off", Err(BadQuery::Level)),
        ] {
            assert_eq!(query(text), read, "{text}");
        }
    }
}
