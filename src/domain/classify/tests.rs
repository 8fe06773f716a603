mod dialects;

use std::time::Duration;

use super::*;
use crate::domain::outcome::{FailureKind, Fatal, Outcome};
use crate::domain::outcome_table::{LastResort, Next};
use crate::domain::rules as dialect;

const JSON: Option<&str> = Some("application/json");
const HTML: Option<&str> = Some("text/html; charset=utf-8");
const SSE: Option<&str> = Some("text/event-stream; charset=utf-8");
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","content":[{"type":"text","text":"hi"}]}"#;
const COMPLETION: &str = r#"{"id":"c","object":"chat.completion","choices":[]}"#;
const PAGE: &str = "<!doctype html><html><body>Please log in</body></html>";

static NO_LIMITS: Limits = Limits::none();
static NO_RULES: Rules = Rules::none();

fn head(status: u16, content_type: Option<&str>) -> AnswerHead<'_> {
    AnswerHead {
        status,
        content_type,
        credential: WhoseCredential::Gateway,
        wanted: Wanted::Whole,
        model: Some("claude-x"),
        limits: &NO_LIMITS,
        rules: &NO_RULES,
    }
}

fn anthropic(kind: &str, message: &str) -> String {
    format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#)
}

fn openai(kind: &str, code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"{code}"}}}}"#)
}

fn judge(path: PathKind, head: &AnswerHead<'_>, body: &str) -> Judgement {
    classify_answer(path, head, Some(body.as_bytes()), Words::Left)
}

#[test]
fn every_row_of_the_table_holds_for_both_protocols() {
    use Class as C;
    let rows: [(u16, Option<&str>, String, Class); 65] = [
        (200, JSON, MESSAGE.into(), C::Success),
        (200, JSON, COMPLETION.into(), C::Success),
        (201, Some("text/plain"), MESSAGE.into(), C::Success),
        (401, JSON, anthropic("authentication_error", "invalid x-api-key"), C::Credential),
        (401, JSON, openai("invalid_request_error", "invalid_api_key", "Incorrect API key"), C::Credential),
        (401, JSON, openai("new_api_error", "", "无效的令牌 (request id: 1)"), C::Credential),
        (403, JSON, openai("new_api_error", "", "无效的令牌"), C::Credential),
        (400, JSON, openai("no_db_connection", "400", "No connected db."), C::Credential),
        (503, JSON, openai("no_db_connection", "503", "Service Unavailable"), C::UpstreamStatus),
        (402, JSON, anthropic("billing_error", "pay"), C::Account),
        (402, JSON, openai("x", "y", "z"), C::Account),
        (400, JSON, anthropic("invalid_request_error", "Your credit balance is too low to go on"), C::Account),
        (
            400,
            JSON,
            anthropic("invalid_request_error", "You have reached your specified API usage limits. You"),
            C::Account,
        ),
        (429, JSON, openai("insufficient_quota", "insufficient_quota", "You exceeded"), C::Account),
        (403, JSON, openai("new_api_error", "insufficient_user_quota", "用户额度不足"), C::Account),
        (422, JSON, openai("budget_exceeded", "422", "Budget has been exceeded! Key=k"), C::Account),
        (422, JSON, openai("budget_exceeded", "422", "ExceededBudget: End User=u over budget."), C::ClientError),
        (400, JSON, openai("x", "", "anthropic error: Your credit balance is too low"), C::Account),
        (400, JSON, anthropic("invalid_request_error", "he said Your credit balance is too low"), C::ClientError),
        (403, JSON, anthropic("permission_error", "no"), C::Forbidden),
        (403, HTML, PAGE.into(), C::Forbidden),
        (404, JSON, anthropic("not_found_error", "model: claude-x"), C::ModelMissing),
        (404, JSON, anthropic("not_found_error", "there is no claude-x here"), C::ModelMissing),
        (
            404,
            JSON,
            openai("x", "404", "litellm.NotFoundError: OpenAIException - The model `x` is not"),
            C::ModelMissing,
        ),
        (400, JSON, anthropic("x", "/chat/completions: Invalid model name passed in model=claude-x."), C::ModelMissing),
        (400, JSON, anthropic("x", "he said /x: Invalid model name passed in model=claude-x."), C::ClientError),
        (401, JSON, openai("team_model_access_denied", "401", "Team not allowed to access model"), C::ModelMissing),
        (403, JSON, openai("key_model_access_denied", "403", "The requested model 'x' is not"), C::ModelMissing),
        (403, JSON, openai("new_api_error", "", "该令牌无权访问模型 claude-x"), C::ModelMissing),
        (404, JSON, openai("invalid_request_error", "model_not_found", "The model does not exist"), C::ModelMissing),
        (400, JSON, openai("invalid_request_error", "invalid_encrypted_content", "The encrypted"), C::ModelMissing),
        (400, JSON, openai("invalid_request_error", "previous_response_not_found", "Previous"), C::ModelMissing),
        (404, JSON, openai("invalid_request_error", "", "Item with id 'rs_1' not found."), C::ModelMissing),
        (400, JSON, openai("invalid_request_error", "x", "he said Item with id 'rs_1' not found."), C::ClientError),
        (404, JSON, anthropic("not_found_error", "Not found"), C::ClientError),
        (404, HTML, PAGE.into(), C::NotTheApi),
        (404, JSON, r#"{"detail":"Not Found"}"#.into(), C::NotTheApi),
        (503, JSON, openai("new_api_error", "model_not_found", "no channel"), C::RelayModelMissing),
        (
            503,
            JSON,
            openai("one_api_error", "", "当前分组 default 下对于模型 claude-x 无可用渠道"),
            C::RelayModelMissing,
        ),
        (408, JSON, anthropic("timeout_error", "slow"), C::RequestTimeout),
        (408, HTML, String::new(), C::RequestTimeout),
        (429, JSON, anthropic("rate_limit_error", "later"), C::RateLimited),
        (429, JSON, openai("tokens", "rate_limit_exceeded", "later"), C::RateLimited),
        (429, HTML, PAGE.into(), C::RateLimited),
        (529, JSON, anthropic("overloaded_error", "Overloaded"), C::Overloaded),
        (529, HTML, PAGE.into(), C::Overloaded),
        (503, JSON, anthropic("overloaded_error", "Overloaded"), C::Overloaded),
        (400, JSON, anthropic("invalid_request_error", "prompt is too long"), C::ClientError),
        (400, JSON, openai("invalid_request_error", "context_length_exceeded", "too long"), C::ClientError),
        (422, JSON, openai("invalid_request_error", "x", "no"), C::ClientError),
        (
            400,
            JSON,
            r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#.into(),
            C::ClientError,
        ),
        (401, JSON, r#"{"object":"error","message":"no","type":"x","code":401}"#.into(), C::Credential),
        (413, HTML, PAGE.into(), C::ClientError),
        (414, HTML, String::new(), C::ClientError),
        (431, None, String::new(), C::ClientError),
        (400, HTML, PAGE.into(), C::NotTheApi),
        (401, HTML, PAGE.into(), C::NotTheApi),
        (405, None, String::new(), C::NotTheApi),
        (302, HTML, String::new(), C::Redirected),
        (500, JSON, anthropic("api_error", "oh"), C::UpstreamStatus),
        (500, JSON, openai("server_error", "", "oh"), C::UpstreamStatus),
        (502, HTML, PAGE.into(), C::UpstreamStatus),
        (504, JSON, anthropic("timeout_error", "oh"), C::UpstreamStatus),
        (522, HTML, PAGE.into(), C::UpstreamStatus),
        (999, HTML, PAGE.into(), C::Connect),
    ];
    for (status, content_type, body, class) in rows {
        let judgement = judge(PathKind::Llm, &head(status, content_type), &body);
        assert_eq!(judgement.class, class, "{status} {body}");
        assert_eq!(judgement.status, Some(status), "{status} {body}");
        assert_eq!(judgement.error.is_none(), class == C::Success, "{status} {body}");
    }
}

#[test]
fn every_class_has_the_contracts_consequences() {
    use LastResort as L;
    use Next::{Answer, Elsewhere};
    use Outcome::{Failure, Neutral, Success};
    for (class, outcome, next) in [
        (Class::Success, Success, Answer),
        (Class::ClientCredential, Neutral, Answer),
        (Class::Account, Outcome::Fatal(Fatal::Account), Elsewhere(L::Never)),
        (Class::Credential, Outcome::Fatal(Fatal::Credential), Elsewhere(L::Never)),
        (Class::Forbidden, Neutral, Elsewhere(L::ClientError)),
        (Class::ModelMissing, Neutral, Elsewhere(L::ClientError)),
        (Class::RelayModelMissing, Neutral, Elsewhere(L::ServerError)),
        (Class::Unsupported, Neutral, Elsewhere(L::ClientError)),
        (Class::RequestTimeout, Failure(FailureKind::Timeout), Elsewhere(L::ClientError)),
        (Class::RateLimited, Neutral, Elsewhere(L::RateLimit)),
        (Class::Overloaded, Neutral, Elsewhere(L::Overload)),
        (Class::ClientError, Neutral, Answer),
        (Class::NotTheApi, Failure(FailureKind::UpstreamStatus), Elsewhere(L::ClientError)),
        (Class::Redirected, Failure(FailureKind::UpstreamStatus), Elsewhere(L::ServerError)),
        (Class::UpstreamStatus, Failure(FailureKind::UpstreamStatus), Elsewhere(L::ServerError)),
        (Class::Body, Failure(FailureKind::Body), Elsewhere(L::Never)),
        (Class::Connect, Failure(FailureKind::Connect), Elsewhere(L::Never)),
        (Class::OutOfFiles, Neutral, Elsewhere(L::Never)),
        (Class::OutOfPorts, Neutral, Elsewhere(L::Never)),
        (Class::Timeout, Failure(FailureKind::Timeout), Elsewhere(L::Never)),
        (Class::Stream, Failure(FailureKind::Stream), Elsewhere(L::Never)),
        (Class::Cancelled, Outcome::Cancelled, Next::Stop),
    ] {
        assert_eq!(class.rule(PathKind::Llm), Rule { outcome, next }, "{class:?}");
    }
}

#[test]
fn what_is_the_clients_own_is_passed_on_and_counts_as_nothing() {
    for (status, body) in [
        (401, anthropic("authentication_error", "no")),
        (403, PAGE.to_owned()),
        (402, anthropic("billing_error", "pay")),
        (400, anthropic("invalid_request_error", "Your credit balance is too low")),
        (429, openai("insufficient_quota", "insufficient_quota", "")),
    ] {
        let head = AnswerHead { credential: WhoseCredential::Client, ..head(status, JSON) };
        assert_eq!(judge(PathKind::Llm, &head, &body).class, Class::ClientCredential, "{status}");
    }
}

#[test]
fn an_error_object_in_a_2xx_is_taken_for_the_status_that_its_type_stands_for() {
    for (body, class, status, note) in [
        (anthropic("overloaded_error", "x"), Class::Overloaded, 529, "HTTP 529 overloaded_error (in a 200)"),
        (anthropic("authentication_error", "x"), Class::Credential, 401, "HTTP 401 authentication_error (in a 200)"),
        (anthropic("api_error", "x"), Class::UpstreamStatus, 500, "HTTP 500 api_error (in a 200)"),
        (anthropic("invalid_request_error", "x"), Class::ClientError, 400, "HTTP 400 invalid_request_error (in a 200)"),
        (openai("insufficient_quota", "", "x"), Class::Account, 429, "HTTP 429 insufficient_quota (in a 200)"),
        (openai("odd", "model_not_found", "x"), Class::ModelMissing, 404, "HTTP 404 odd (in a 200)"),
    ] {
        let judgement = judge(PathKind::Llm, &head(200, JSON), &body);
        assert_eq!((judgement.class, judgement.status), (class, Some(status)), "{body}");
        assert_eq!(judgement.error.unwrap().as_str(), note);
    }
    let whole = r#"{"object":"response","status":"completed","error":null,"output":[]}"#;
    assert_eq!(judge(PathKind::Llm, &head(200, JSON), whole).class, Class::Success);
}

#[test]
fn a_2xx_that_is_no_json_object_is_a_failed_body_whatever_its_content_type_says() {
    for body in ["", " ", PAGE, "[]", "null", "\"ok\"", "{\"a\":1", "{\"a\":1} x", "{'a':1}"] {
        for content_type in [JSON, HTML, None] {
            assert_eq!(judge(PathKind::Llm, &head(200, content_type), body).class, Class::Body, "{body:?}");
        }
    }
    assert_eq!(judge(PathKind::Llm, &head(204, None), "").class, Class::Body);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(judge(PathKind::Llm, &head(200, JSON), &deep).class, Class::Success);
}

/// Once wrong: an endpoint whose answers begin with a byte order mark, which clients pass over, was isolated and never came back.
#[test]
fn a_byte_order_mark_before_the_json_is_no_part_of_it() {
    for (status, body, class) in [
        (200, MESSAGE.to_owned(), Class::Success),
        (200, anthropic("overloaded_error", "m"), Class::Overloaded),
        (400, anthropic("invalid_request_error", "prompt is too long"), Class::ClientError),
        (401, anthropic("authentication_error", "m"), Class::Credential),
    ] {
        assert_eq!(
            judge(PathKind::Llm, &head(status, JSON), &format!("\u{feff}{body}")).class,
            class,
            "{status} {body}"
        );
    }
}

#[test]
fn a_stream_is_a_success_where_one_was_asked_for_and_a_failed_body_where_not() {
    let wanted = AnswerHead { wanted: Wanted::Stream, ..head(200, SSE) };
    assert_eq!(classify_stream_head(PathKind::Llm, &wanted).unwrap().class, Class::Success);
    assert_eq!(classify_stream_head(PathKind::Llm, &head(200, SSE)).unwrap().class, Class::Body);
    assert_eq!(judge(PathKind::Llm, &head(200, SSE), "data: {}\n\n").class, Class::Body);
    let unclear = AnswerHead { wanted: Wanted::Unknown, ..head(200, SSE) };
    assert_eq!(classify_stream_head(PathKind::Llm, &unclear).unwrap().class, Class::Success);
    assert_eq!(classify_stream_head(PathKind::Other, &head(200, SSE)).unwrap().class, Class::Success);
    assert_eq!(classify_stream_head(PathKind::Llm, &AnswerHead { status: 500, ..wanted }), None);
    assert_eq!(classify_stream_head(PathKind::Llm, &AnswerHead { content_type: JSON, ..wanted }), None);
}

#[test]
fn a_whole_message_answers_a_streamed_request() {
    let wanted = AnswerHead { wanted: Wanted::Stream, ..head(200, JSON) };
    assert_eq!(judge(PathKind::Llm, &wanted, MESSAGE).class, Class::Success);
}

#[test]
fn a_body_that_cannot_be_looked_into_is_judged_by_status_and_content_type() {
    for (status, content_type, class) in [
        (200, JSON, Class::Success),
        (200, Some("application/problem+json"), Class::Success),
        (200, HTML, Class::Body),
        (200, None, Class::Body),
        (401, JSON, Class::Credential),
        (401, HTML, Class::NotTheApi),
        (400, JSON, Class::ClientError),
        (404, HTML, Class::NotTheApi),
        (500, HTML, Class::UpstreamStatus),
    ] {
        let judgement = classify_answer(PathKind::Llm, &head(status, content_type), None, Words::Left);
        assert_eq!(judgement.class, class, "{status} {content_type:?}");
    }
}

#[test]
fn a_missing_token_counter_counts_as_nothing() {
    for (status, body) in [(404, PAGE.to_owned()), (405, String::new()), (501, anthropic("api_error", "x"))] {
        let judgement = judge(PathKind::CountTokens, &head(status, JSON), &body);
        assert_eq!(judgement.class, Class::Unsupported, "{status}");
        assert_eq!(judgement.rule(PathKind::CountTokens).outcome, Outcome::Neutral);
    }
    let failed = judge(PathKind::CountTokens, &head(500, HTML), PAGE);
    assert_eq!(failed.rule(PathKind::CountTokens).outcome, Outcome::Neutral);
}

#[test]
fn on_other_paths_client_errors_are_passed_on_and_server_errors_count() {
    for (status, body, class, outcome) in [
        (200, PAGE, Class::Success, Outcome::Success),
        (204, "", Class::Success, Outcome::Success),
        (302, "", Class::ClientError, Outcome::Neutral),
        (401, "", Class::ClientError, Outcome::Neutral),
        (404, PAGE, Class::ClientError, Outcome::Neutral),
        (408, "", Class::ClientError, Outcome::Neutral),
        (429, "", Class::ClientError, Outcome::Neutral),
        (500, PAGE, Class::UpstreamStatus, Outcome::Failure(FailureKind::UpstreamStatus)),
        (529, "", Class::UpstreamStatus, Outcome::Failure(FailureKind::UpstreamStatus)),
    ] {
        let judgement = judge(PathKind::Other, &head(status, HTML), body);
        assert_eq!((judgement.class, judgement.rule(PathKind::Other).outcome), (class, outcome), "{status}");
    }
}

#[test]
fn a_note_holds_the_endpoints_words_only_where_they_are_asked_for() {
    let body = anthropic("api_error", "about your secret plan");
    let head = head(500, JSON);
    let left = classify_answer(PathKind::Llm, &head, Some(body.as_bytes()), Words::Left);
    let kept = classify_answer(PathKind::Llm, &head, Some(body.as_bytes()), Words::Kept);
    assert_eq!(left.error.unwrap().as_str(), "HTTP 500 api_error");
    assert_eq!(kept.error.unwrap().as_str(), "HTTP 500 api_error: about your secret plan");
    assert_eq!(judge(PathKind::Llm, &head, PAGE).error.unwrap().as_str(), "HTTP 500");
}

#[test]
fn a_trail_shows_the_status_where_it_tells_what_happened() {
    assert_eq!(judge(PathKind::Llm, &head(200, JSON), MESSAGE).label(), "ok");
    assert_eq!(judge(PathKind::Llm, &head(529, JSON), "").label(), "529");
    assert_eq!(judge(PathKind::Llm, &head(200, JSON), &anthropic("overloaded_error", "")).label(), "529");
    assert_eq!(judge(PathKind::Llm, &head(200, HTML), PAGE).label(), "body");
    assert_eq!(Judgement::of_fault(Class::Connect, "connection refused").label(), "connect");
    assert_eq!(Judgement::of_fault(Class::Timeout, "no head within 60s").label(), "timeout");
}

/// Half a minute after the answer came.
const RETRY_AFTER: [(&str, &str); 1] = [("retry-after", "30")];
const USED_UP: [(&str, &str); 2] = [("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")];

fn limits(headers: &[(&str, &str)]) -> Limits {
    Limits::of(headers.iter().map(|(name, value)| (*name, value.as_bytes())), Duration::from_secs(1_794_744_000))
}

#[test]
fn a_rate_limit_and_an_overload_say_for_how_long_and_nothing_else_does() {
    use Throttle::{Named, Overload, Unnamed};
    let seconds = Duration::from_secs;
    let rate_limit = anthropic("rate_limit_error", "later");
    let overload = anthropic("overloaded_error", "x");
    for (status, body, headers, throttle) in [
        (429, &rate_limit, &RETRY_AFTER[..], Some(Named(seconds(30)))),
        (429, &rate_limit, &USED_UP[..], Some(Named(seconds(360)))),
        (429, &rate_limit, &[], Some(Unnamed)),
        (429, &PAGE.to_owned(), &RETRY_AFTER[..], Some(Named(seconds(30)))),
        (200, &rate_limit, &RETRY_AFTER[..], Some(Named(seconds(30)))),
        (200, &rate_limit, &[], Some(Unnamed)),
        (529, &overload, &RETRY_AFTER[..], Some(Overload(Some(seconds(30))))),
        (503, &overload, &USED_UP[..], Some(Overload(None))),
        (200, &overload, &[], Some(Overload(None))),
        (429, &openai("insufficient_quota", "insufficient_quota", "x"), &RETRY_AFTER[..], None),
        (500, &anthropic("api_error", "x"), &RETRY_AFTER[..], None),
        (503, &anthropic("api_error", "x"), &USED_UP[..], None),
        (200, &MESSAGE.to_owned(), &USED_UP[..], None),
    ] {
        let limits = limits(headers);
        let head = AnswerHead { limits: &limits, ..head(status, JSON) };
        assert_eq!(judge(PathKind::Llm, &head, body).throttle, throttle, "{status} {body} {headers:?}");
        for path in [PathKind::CountTokens, PathKind::Other] {
            assert_eq!(judge(path, &head, body).throttle, None, "{status} {body} {path:?}");
        }
    }
}

#[test]
fn a_limit_of_the_clients_own_account_does_not_rest_the_endpoint() {
    let limits = limits(&RETRY_AFTER);
    let head = AnswerHead { credential: WhoseCredential::Client, limits: &limits, ..head(429, JSON) };
    let judgement = judge(PathKind::Llm, &head, &anthropic("rate_limit_error", "later"));
    assert_eq!((judgement.class, judgement.throttle), (Class::RateLimited, None));
    let overloaded = judge(PathKind::Llm, &AnswerHead { status: 529, ..head }, "");
    assert_eq!(overloaded.throttle, Some(Throttle::Overload(Some(Duration::from_secs(30)))));
}

fn rule(status: Option<u16>, contains: Option<&str>, meaning: Meaning) -> dialect::Rule {
    dialect::Rule { status, kind: None, code: None, contains: contains.map(str::to_owned), meaning }
}

#[test]
fn a_rule_goes_before_the_table() {
    let said = anthropic("api_error", "the pool is dry");
    for (meaning, own, clients) in [
        (Meaning::Account, Class::Account, Class::ClientCredential),
        (Meaning::Credential, Class::Credential, Class::ClientCredential),
        (Meaning::Model, Class::RelayModelMissing, Class::RelayModelMissing),
        (Meaning::Client, Class::ClientError, Class::ClientError),
        (Meaning::Overloaded, Class::Overloaded, Class::Overloaded),
        (Meaning::Failure, Class::UpstreamStatus, Class::UpstreamStatus),
    ] {
        let rules = Rules::new([rule(None, Some("pool is dry"), meaning)]);
        for (credential, class) in [(WhoseCredential::Gateway, own), (WhoseCredential::Client, clients)] {
            let head = AnswerHead { rules: &rules, credential, ..head(500, JSON) };
            let judgement = judge(PathKind::Llm, &head, &said);
            assert_eq!((judgement.class, judgement.status), (class, Some(500)), "{meaning:?} {credential:?}");
            let other = judge(PathKind::Llm, &head, &anthropic("api_error", "else"));
            assert_eq!(other.class, Class::UpstreamStatus, "{meaning:?}");
            assert_eq!(judge(PathKind::Other, &head, &said).class, Class::UpstreamStatus, "{meaning:?}");
        }
    }
}

#[test]
fn a_rule_may_take_an_answer_out_of_every_row_but_success() {
    for (status, body) in [
        (302, String::new()),
        (401, anthropic("authentication_error", "x")),
        (403, PAGE.to_owned()),
        (413, String::new()),
        (429, openai("insufficient_quota", "insufficient_quota", "x")),
        (529, anthropic("overloaded_error", "x")),
    ] {
        let rules = Rules::new([rule(Some(status), None, Meaning::Client)]);
        let head = AnswerHead { rules: &rules, ..head(status, JSON) };
        assert_eq!(judge(PathKind::Llm, &head, &body).class, Class::ClientError, "{status}");
    }
    let rules = Rules::new([rule(Some(200), None, Meaning::Failure)]);
    let head = AnswerHead { rules: &rules, ..head(200, JSON) };
    assert_eq!(judge(PathKind::Llm, &head, MESSAGE).class, Class::Success);
    assert_eq!(judge(PathKind::Llm, &head, PAGE).class, Class::Body);
}

#[test]
fn a_rule_for_an_error_in_a_2xx_names_the_status_that_its_words_do_not() {
    for (meaning, body, class, status) in [
        (Meaning::Client, openai("odd", "", "dry"), Class::ClientError, 400),
        (Meaning::Model, openai("odd", "", "dry"), Class::ModelMissing, 404),
        (Meaning::Overloaded, openai("odd", "", "dry"), Class::Overloaded, 529),
        (Meaning::Failure, openai("odd", "", "dry"), Class::UpstreamStatus, 500),
        (Meaning::Client, anthropic("overloaded_error", "dry"), Class::ClientError, 529),
    ] {
        let rules = Rules::new([rule(Some(200), Some("dry"), meaning)]);
        let head = AnswerHead { rules: &rules, ..head(200, JSON) };
        let judgement = judge(PathKind::Llm, &head, &body);
        assert_eq!((judgement.class, judgement.status), (class, Some(status)), "{meaning:?}");
    }
    let by_its_own_status = Rules::new([rule(Some(529), None, Meaning::Failure)]);
    let head = AnswerHead { rules: &by_its_own_status, ..head(200, JSON) };
    let judgement = judge(PathKind::Llm, &head, &anthropic("overloaded_error", "x"));
    assert_eq!(judgement.class, Class::UpstreamStatus);
}
