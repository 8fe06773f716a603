use super::*;

const HALF_OUT: Counts = Counts { isolated: 2, total: 3 };

/// A refusal, its status, its type in Anthropic's shape, and its headers.
type Row = (Refusal, u16, &'static str, Vec<(&'static str, &'static str)>);

fn every_refusal() -> Vec<Row> {
    let retry = |seconds| vec![("retry-after", seconds)];
    let never = || vec![("x-should-retry", "false")];
    let next_verification = Duration::from_millis(11_001);
    vec![
        (Refusal::NoClientKey, 401, "authentication_error", never()),
        (Refusal::WrongClientKey, 401, "authentication_error", never()),
        (Refusal::ExpiredClientKey, 401, "authentication_error", never()),
        (Refusal::ForeignPage, 403, "permission_error", never()),
        (Refusal::ClientBusy { limit: 2 }, 429, "rate_limit_error", retry("1")),
        (Refusal::BodyTooLarge { limit: 32 << 20 }, 413, "request_too_large", vec![]),
        (Refusal::NoUsableEndpoint { counts: HALF_OUT, next_verification }, 503, "api_error", retry("12")),
        (Refusal::OperatorNeeded { counts: HALF_OUT }, 503, "api_error", never()),
        (Refusal::EveryAttemptFailed { attempts: 3, needs_operator: false }, 502, "api_error", vec![]),
        (Refusal::EveryAttemptFailed { attempts: 2, needs_operator: true }, 502, "api_error", never()),
        (Refusal::EveryAttemptTimedOut { attempts: 1 }, 504, "timeout_error", vec![]),
        (Refusal::Overloaded { message: Some("Overloaded".to_owned()) }, 503, "api_error", retry("10")),
        (Refusal::RateLimited { total: 3, soonest: next_verification }, 429, "rate_limit_error", retry("12")),
        (Refusal::Exhausted { total: 1, soonest: Duration::from_hours(3) }, 429, "rate_limit_error", never()),
        (Refusal::EveryEndpointFull { usable: 2 }, 503, "api_error", retry("1")),
        (Refusal::UnknownModel { model: Some("m".to_owned()) }, 404, "not_found_error", vec![]),
        (Refusal::NoEndpointForPath, 404, "not_found_error", vec![]),
        (Refusal::PathNotServed { meant: None }, 404, "not_found_error", vec![]),
        (Refusal::NoSuchRoute, 404, "not_found_error", vec![]),
        (Refusal::WrongMethod { allowed: "POST" }, 405, "invalid_request_error", vec![("allow", "POST")]),
        (Refusal::HeadTooSlow, 408, "timeout_error", vec![]),
        (Refusal::BodyTooSlow, 408, "timeout_error", vec![]),
        (Refusal::TooMuchBuffered, 503, "api_error", retry("1")),
        (Refusal::Stopping, 503, "api_error", vec![("retry-after", "1"), ("connection", "close")]),
        (Refusal::Upgrade, 501, "invalid_request_error", vec![]),
        (Refusal::Malformed { what: "body" }, 400, "invalid_request_error", vec![]),
        (Refusal::WaitedTooLong, 503, "api_error", retry("1")),
        (Refusal::SwitchedOff { total: 2 }, 503, "api_error", never()),
    ]
}

fn parsed(refusal: &Refusal, shape: ErrorShape, help: &str) -> Value {
    serde_json::from_str(&refusal.body(shape, "req-7", help)).unwrap()
}

#[test]
fn every_refusal_has_the_contracts_status_type_and_headers() {
    for (refusal, status, kind, headers) in every_refusal() {
        assert_eq!(refusal.status(), status, "{refusal:?}");
        assert_eq!(refusal.error_type(ErrorShape::Anthropic), kind, "{refusal:?}");
        let shown: Vec<(&str, String)> = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        assert_eq!(refusal.headers(), shown, "{refusal:?}");
    }
}

#[test]
fn the_body_has_the_protocols_shape() {
    for (refusal, _, kind, _) in every_refusal() {
        let body = parsed(&refusal, ErrorShape::Anthropic, "");
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(kind)), "{body}");
        assert_eq!(body["request_id"], "req-7");

        let error = &parsed(&refusal, ErrorShape::OpenAi, "")["error"];
        assert_eq!(error["type"], refusal.error_type(ErrorShape::OpenAi));
        assert_eq!(error["param"], Value::Null);
        assert!(error.as_object().unwrap().contains_key("code"), "{error}");
    }
}

#[test]
fn without_a_usable_endpoint_an_openai_client_reads_its_own_words() {
    let counts = Counts { isolated: 1, total: 1 };
    for refusal in
        [Refusal::NoUsableEndpoint { counts, next_verification: Duration::ZERO }, Refusal::OperatorNeeded { counts }]
    {
        let error = &parsed(&refusal, ErrorShape::OpenAi, "")["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!("server_error"), &json!("no_usable_endpoint")));
    }
}

#[test]
fn every_message_says_whether_trying_again_helps_the_requests_id_and_where_help_is() {
    for (refusal, ..) in every_refusal() {
        let body = parsed(&refusal, ErrorShape::Anthropic, " Ask in #llm. ");
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("Trying again"), "{message}");
        assert!(message.ends_with("(request req-7) Ask in #llm."), "{message}");
        let plain = parsed(&refusal, ErrorShape::Anthropic, "");
        assert!(plain["error"]["message"].as_str().unwrap().ends_with("(request req-7)"));
    }
}

#[test]
fn a_message_gives_the_numbers() {
    for (refusal, said) in [
        (
            Refusal::NoUsableEndpoint { counts: HALF_OUT, next_verification: Duration::from_secs(12) },
            "2 of 3 endpoints have failed, and the others can't be used now. Trying again may help in 12 s",
        ),
        (
            Refusal::OperatorNeeded { counts: Counts { isolated: 1, total: 1 } },
            "the only one has failed, and its credential or account is why",
        ),
        (
            Refusal::NoUsableEndpoint { counts: Counts::default(), next_verification: Duration::ZERO },
            "none is in use. Trying again may help in 1 s",
        ),
        (Refusal::BodyTooLarge { limit: 32 << 20 }, "(32 MiB)"),
        (Refusal::BodyTooLarge { limit: 1000 }, "(1000 bytes)"),
        (
            Refusal::EveryAttemptFailed { attempts: 3, needs_operator: false },
            "all 3 attempts failed. Trying again may help.",
        ),
        (
            Refusal::EveryAttemptFailed { attempts: 2, needs_operator: true },
            "Trying again does not help; the gateway's operator",
        ),
        (Refusal::EveryAttemptTimedOut { attempts: 1 }, "the one attempt timed out"),
        (Refusal::EveryEndpointFull { usable: 1 }, "the one usable endpoint has"),
        (
            Refusal::RateLimited { total: 3, soonest: Duration::from_secs(7) },
            "all 3 are rate limited. Trying again helps in 7 s",
        ),
        (
            Refusal::RateLimited { total: 1, soonest: Duration::from_secs(240) },
            "the only one is rate limited. Trying again helps in 4 min",
        ),
        (
            Refusal::NoUsableEndpoint { counts: HALF_OUT, next_verification: Duration::from_mins(15) },
            "Trying again may help in 15 min",
        ),
        (
            Refusal::Exhausted { total: 1, soonest: Duration::from_mins(125) },
            "the only one is out of quota, and the first is back in 2 h 5 min",
        ),
        (Refusal::PathNotServed { meant: None }, "server.other_paths"),
        (Refusal::PathNotServed { meant: Some(LlmPath::Messages) }, "serves /v1/messages, not this path: mend"),
        (Refusal::PathNotServed { meant: Some(LlmPath::Messages) }, "server.other_paths"),
        (Refusal::Overloaded { message: Some("Busy here".to_owned()) }, "It says: Busy here"),
        (Refusal::UnknownModel { model: Some("a\"b\n".to_owned()) }, r#"the model "a\"b\n""#),
    ] {
        let message = refusal.sentence();
        assert!(message.contains(said), "{message}");
    }
    let long = Refusal::UnknownModel { model: Some("é".repeat(5000)) }.sentence();
    assert!(long.chars().count() < 300 && long.contains('…'), "{long}");
}

#[test]
fn a_retry_after_is_one_to_fifty_nine_whole_seconds() {
    for (millis, seconds) in
        [(0, 1), (1, 1), (1000, 1), (1001, 2), (58_001, 59), (59_000, 59), (60_000, 59), (u64::MAX, 59)]
    {
        assert_eq!(retry_after_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
    }
}

#[test]
fn the_shape_is_that_of_the_paths_protocol() {
    assert_eq!(ErrorShape::of(None), ErrorShape::Anthropic);
    assert_eq!(ErrorShape::of(Some(LlmPath::CountTokens)), ErrorShape::Anthropic);
    assert_eq!(ErrorShape::of(Some(LlmPath::Responses)), ErrorShape::OpenAi);
}
