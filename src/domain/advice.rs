//! What to do about an endpoint that did not pass a verification.

use super::challenge::Unproven;

/// The next step for the operator, by what was found.
pub fn next_step(unproven: &Unproven) -> &'static str {
    match (unproven.status, unproven.lacks_model) {
        (None, _) => "see that base_url names the right host, and that it can be reached from here",
        (Some(401), _) => {
            "set the right key (api_key_env, api_key_file), and see whether it belongs in another header (auth)"
        }
        (Some(402), _) => "top up the account behind the key",
        (Some(403), _) => {
            "see what this key may do; a relay that wants only its usual client needs verify_system or verify_headers"
        }
        (Some(_), true) => "name a model that it has (verify_model), or see that base_url is that of the API",
        (Some(404 | 405), false) => "see that base_url is that of the API; the path is appended to it",
        (Some(429), _) => "wait until its limit is over; the key is in order",
        (Some(300..=399), _) => "set base_url to where it redirects to",
        (Some(200..=299), _) => {
            "see that base_url is that of the API and no web page, and that the model answers briefly (verify_model, \
             verify_max_tokens)"
        }
        (Some(500..=599), _) => "wait for the provider, or ask it",
        (Some(_), false) => "see what its error says; log.upstream_errors = true shows it",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::outcome::ErrorNote;
    use super::*;

    #[test]
    fn each_finding_has_a_next_step() {
        for (status, lacks_model, word) in [
            (None, false, "host"),
            (Some(200), false, "web page"),
            (Some(302), false, "redirects"),
            (Some(400), false, "error"),
            (Some(401), false, "key"),
            (Some(402), false, "account"),
            (Some(403), false, "verify_system"),
            (Some(404), true, "verify_model"),
            (Some(405), false, "base_url"),
            (Some(429), false, "limit"),
            (Some(503), true, "verify_model"),
            (Some(503), false, "provider"),
        ] {
            let mut unproven = Unproven::without_answer(ErrorNote::new(""), Duration::ZERO);
            (unproven.status, unproven.lacks_model) = (status, lacks_model);
            assert!(next_step(&unproven).contains(word), "{status:?}");
        }
    }
}
