//! What providers and relays answer, and how it is classified. The bodies are shortened.

use super::*;

const EXHAUSTED: &str = "You exceeded your current quota, please check your plan and billing details. For more information on \
                         this error, ";

/// An answer in JSON.
struct Said(&'static str, u16, String, Class);

fn said(provider: &'static str, status: u16, body: impl Into<String>, class: Class) -> Said {
    Said(provider, status, body.into(), class)
}

fn assert_all(rows: impl IntoIterator<Item = Said>) {
    for Said(provider, status, body, class) in rows {
        let judgement = judge(PathKind::Llm, &head(status, JSON), &body);
        assert_eq!(judgement.class, class, "{provider} {status} {body}");
    }
}

fn google(status: u16, word: &str, message: &str) -> String {
    format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"{word}"}}}}"#)
}

/// As Google's endpoint for the `OpenAI` API answers.
fn google_list(status: u16, word: &str, message: &str) -> String {
    format!("[{}\n]\n", google(status, word, message))
}

#[test]
fn a_used_up_account_is_known_by_its_providers_words() {
    use Class as C;
    let zhipu = |message: &str| format!(r#"{{"error":{{"code":"1113","message":"{message}"}}}}"#);
    let team = "Your team 0f-1 has either used all available credits or reached its monthly spending limit. To";
    let xai = |message: &str| format!(r#"{{"code":"The caller does not have permission","error":"{message}"}}"#);
    let suspended =
        "Account acme-1 is suspended, possibly due to reaching the monthly spending limit or failure to pay";
    let standing = "Access denied, please make sure your account is in good standing.";
    let no_package = "Insufficient balance or no resource package. Please recharge.";
    assert_all([
        said("DeepSeek", 402, openai("unknown_error", "invalid_request_error", "Insufficient Balance"), C::Account),
        said("OpenRouter", 402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, C::Account),
        said("Zhipu", 429, anthropic("1113", no_package), C::Account),
        said("Zhipu", 429, zhipu("余额不足或无可用资源包,请充值。"), C::Account),
        said("Zhipu", 429, zhipu("您的账户已欠费，请充值后重试。"), C::Account),
        said("Zhipu", 429, r#"{"error":{"code":"1302","message":"您的账户已达到速率限制"}}"#, C::RateLimited),
        said("MiniMax", 500, anthropic("api_error", "insufficient balance (1008)"), C::Account),
        said("MiniMax", 429, anthropic("insufficient_balance_error", "insufficient balance (1008)"), C::Account),
        said("Model Studio", 400, openai("Arrearage", "Arrearage", standing), C::Account),
        said("Model Studio", 400, anthropic("invalid_request_error", standing), C::Account),
        said(
            "Model Studio",
            400,
            format!(r#"{{"code":"Arrearage","message":"{standing}","request_id":"r"}}"#),
            C::Account,
        ),
        said(
            "Moonshot",
            429,
            anthropic("exceeded_current_quota_error", "Your account o <ak> is suspended"),
            C::Account,
        ),
        said("Moonshot", 403, anthropic("exceeded_current_quota_error", "Your account o is not active"), C::Account),
        said("Groq", 400, openai("invalid_request_error", "blocked_api_access", "spend limit"), C::Account),
        said("Groq", 400, openai("invalid_request_error", "organization_restricted", "restricted"), C::Account),
        said("Fireworks", 412, openai("error", "PRECONDITION_FAILED", suspended), C::Account),
        said("Fireworks", 412, openai("error", "x", "Account  is suspended, possibly due"), C::ClientError),
        said("xAI", 403, xai(team), C::Account),
        said("xAI", 429, xai(team), C::Account),
        said("xAI", 403, xai("Your newly created team doesn't have any credits or licenses yet. You"), C::Account),
        said("xAI", 403, xai("Content violates usage guidelines."), C::Forbidden),
        said(
            "Google",
            429,
            google_list(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
            C::Account,
        ),
        said("a client", 400, openai("x", "y", &format!("invalid text: {no_package}")), C::ClientError),
        said("a client", 400, openai("x", "y", &format!("invalid text: {team}")), C::ClientError),
    ]);
}

/// Anthropic's message about an unknown member begins with the member's name.
#[test]
fn the_name_of_a_member_that_a_client_has_made_up_is_no_word_of_the_providers() {
    for name in [
        "Your credit balance is too low",
        "You exceeded your current quota",
        "Insufficient balance or no resource package",
        "Your team x has either used all available credits or reached its monthly spending limit",
        "API key not valid. Please pass a valid API key",
        "无效的令牌",
        "litellm.BadRequestError: X - Your credit balance is too low",
        "anthropic error: Your credit balance is too low",
        "Model Not Exist",
        "Item with id '",
    ] {
        let message = format!("{name}: Extra inputs are not permitted");
        let error = anthropic("invalid_request_error", &message);
        let behind_litellm = serde_json::json!({
            "error": { "message": format!("litellm.BadRequestError: AnthropicException - {error}"), "type": null, "code": "400" }
        });
        let by_portkey = openai("invalid_request_error", "", &format!("anthropic error: {message}"));
        assert_all([
            said("Anthropic", 400, error, Class::ClientError),
            said("LiteLLM", 400, behind_litellm.to_string(), Class::ClientError),
            said("Portkey", 400, by_portkey, Class::ClientError),
        ]);
    }
}

#[test]
fn googles_word_for_a_rate_is_not_openais_for_an_account() {
    let googles =
        format!("{EXHAUSTED}head to: https://ai.google.dev/gemini-api/docs/rate-limits. Please retry in 8.9s.");
    let openais = format!("{EXHAUSTED}read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.");
    let within = serde_json::Value::from(google(429, "RESOURCE_EXHAUSTED", &googles)).to_string();
    let behind_litellm = format!(
        r#"{{"error":{{"message":"litellm.RateLimitError: GeminiException - {}","type":"x","code":"429"}}}}"#,
        within.trim_matches('"')
    );
    assert_all([
        said("Google", 429, google_list(429, "RESOURCE_EXHAUSTED", &googles), Class::RateLimited),
        said("Google", 429, google(429, "RESOURCE_EXHAUSTED", &googles), Class::RateLimited),
        said("new-api", 429, openai("upstream_error", "429", &googles), Class::RateLimited),
        said("LiteLLM", 429, behind_litellm, Class::RateLimited),
        said("OpenAI", 429, openai("x", "", &openais), Class::Account),
        said("OpenAI", 429, openai("insufficient_quota", "insufficient_quota", &openais), Class::Account),
    ]);
}

#[test]
fn a_refused_key_is_known_where_its_status_does_not_tell() {
    let azure = |status: u16, message: &str| format!(r#"{{"statusCode":{status},"message":"{message}"}}"#);
    let xai = |message: &str| format!(r#"{{"code":"Client specified an invalid argument","error":"{message}"}}"#);
    let token = "Unauthorized. Access token is missing, invalid, audience is incorrect (https://x), or have expired.";
    let missing = "Access denied due to missing subscription key. Make sure to include subscription key when";
    let invalid = "API key not valid. Please pass a valid API key.";
    assert_all([
        said("Google", 400, google_list(400, "INVALID_ARGUMENT", invalid), Class::Credential),
        said(
            "Google",
            400,
            google(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key."),
            Class::Credential,
        ),
        said(
            "Google, also where a client has one in its query",
            400,
            google_list(400, "INVALID_ARGUMENT", "Multiple authentication credentials received. Please pass only one."),
            Class::Forbidden,
        ),
        said("xAI", 400, xai("Incorrect API key provided: na***ys. You can obtain"), Class::Credential),
        said(
            "Azure",
            401,
            openai("x", "401", "Access denied due to invalid subscription key or wrong"),
            Class::Credential,
        ),
        said("Azure", 401, azure(401, token), Class::Credential),
        said("Azure", 401, azure(401, missing), Class::Credential),
        said("Moonshot", 401, anthropic("invalid_authentication_error", "Invalid Authentication"), Class::Credential),
        said("Azure", 404, azure(404, "Resource not found"), Class::NotTheApi),
        said("a portal", 401, azure(401, "Unauthorized"), Class::NotTheApi),
        said("a portal", 401, azure(500, token), Class::NotTheApi),
        said("a client", 400, openai("x", "y", &format!("invalid text: {invalid}")), Class::ClientError),
    ]);
    let clients = AnswerHead { credential: WhoseCredential::Client, ..head(400, JSON) };
    let own_key = judge(PathKind::Llm, &clients, &google_list(400, "INVALID_ARGUMENT", invalid));
    assert_eq!(own_key.class, Class::ClientCredential);
}

#[test]
fn a_missing_model_is_known_by_its_providers_words_and_the_next_endpoint_is_asked() {
    use Class::{ClientError, ModelMissing, NotTheApi};
    let vllm =
        r#"{"object":"error","message":"The model `claude-x` does not exist.","type":"NotFoundError","code":404}"#;
    let xai =
        r#"{"code":"Some requested entity was not found","error":"The model claude-y does not exist or your team"}"#;
    let azure = openai("", "DeploymentNotFound", "The API deployment for this resource does not exist.");
    let invalid_id = "claude-x is not a valid model ID";
    assert_all([
        said("vLLM", 404, vllm, ModelMissing),
        said("Ollama", 404, openai("api_error", "", "model 'claude-x' not found"), ModelMissing),
        said("Moonshot", 404, anthropic("resource_not_found_error", "Not found the model claude-x or"), ModelMissing),
        said("OpenRouter", 404, r#"{"error":{"message":"No endpoints found for claude-x.","code":404}}"#, ModelMissing),
        said(
            "Google",
            404,
            google_list(404, "NOT_FOUND", "models/claude-x is not found for API version"),
            ModelMissing,
        ),
        said("OpenRouter", 400, format!(r#"{{"error":{{"message":"{invalid_id}","code":400}}}}"#), ModelMissing),
        said("Azure", 404, azure, ModelMissing),
        said("Together", 400, openai("invalid_request_error", "model_not_available", "Unable to access"), ModelMissing),
        said("Copilot", 400, openai("invalid_request_error", "model_not_supported", "The requested"), ModelMissing),
        said("GitHub Models", 400, openai("", "unknown_model", "Unknown model: x"), ModelMissing),
        said("Groq", 400, openai("invalid_request_error", "model_decommissioned", "The model"), ModelMissing),
        said("LM Studio", 400, openai("invalid_request_error", "model_not_found", "No models loaded."), ModelMissing),
        said(
            "DeepSeek",
            400,
            openai("invalid_request_error", "invalid_request_error", "Model Not Exist"),
            ModelMissing,
        ),
        said("Zhipu", 400, openai("", "1211", "模型不存在，请检查模型代码。"), ModelMissing),
        said("Fireworks", 404, openai("error", "NOT_FOUND", "Model not found, inaccessible, and/or not"), ModelMissing),
        said("Bedrock's gateway", 400, r#"{"detail":"Unsupported model x, please use models API"}"#, ModelMissing),
        said("LiteLLM", 400, r#"{"error":"/chat/completions: Invalid model name passed in model=x."}"#, ModelMissing),
        said("LiteLLM", 400, openai("", "400", "litellm.BadRequestError: X - Model Not Exist"), ModelMissing),
        said("xAI", 404, xai, ClientError),
        said("xAI", 404, xai.replace("claude-y", "claude-x"), ModelMissing),
        said("a client", 400, openai("x", "y", &format!("he said {invalid_id}")), ClientError),
        said("a client", 400, openai("x", "y", "he said Model Not Exist"), ClientError),
        said("OpenAI", 404, openai("invalid_request_error", "", "Response not found"), ClientError),
        said("a wrong address", 404, r#"{"code":"NOT_FOUND","error":"no route to claude-x"}"#, NotTheApi),
        said("a wrong address", 404, r#"{"code":"x","message":"no such API","request_id":"r"}"#, NotTheApi),
    ]);
}

#[test]
fn a_request_at_fault_is_passed_on_where_its_error_can_be_no_portals() {
    use Class::{ClientError, NotTheApi};
    let too_long = "The input token count (1300000) exceeds the maximum number of tokens allowed (1048575).";
    let filtered = r#"{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter",
        "status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    let invalid = r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required","input":{}}]}"#;
    let inspected = r#"{"code":"DataInspectionFailed","message":"Input data may contain","request_id":"r"}"#;
    let tgi = r#"{"error":"Input validation error: inputs must have less than 4096 tokens","error_type":"validation"}"#;
    assert_all([
        said("Google", 400, google_list(400, "INVALID_ARGUMENT", too_long), ClientError),
        said("Azure", 400, filtered, ClientError),
        said("xAI", 400, r#"{"code":"Client specified an invalid argument","error":"too long"}"#, ClientError),
        said("Model Studio", 400, inspected, ClientError),
        said("Text Generation Inference", 422, tgi, NotTheApi),
        said("LM Studio", 400, r#"{"error":"The number of tokens to keep is greater than the length."}"#, NotTheApi),
        said("Bedrock's gateway", 400, r#"{"detail":"An error occurred (ValidationException)"}"#, NotTheApi),
        said("FastAPI", 422, invalid, NotTheApi),
        said(
            "llama.cpp",
            400,
            r#"{"error":{"code":400,"message":"x","type":"exceed_context_size_error"}}"#,
            ClientError,
        ),
        said("Cohere", 422, r#"{"id":"1","message":"invalid type: parameter x is of type int"}"#, NotTheApi),
        said("Bedrock", 400, r#"{"message":"Input is too long for requested model."}"#, NotTheApi),
        said("AWS, a wrong address", 404, r#"{"message":"Not Found"}"#, NotTheApi),
        said("FastAPI, a wrong address", 404, r#"{"detail":"Not Found"}"#, NotTheApi),
        said("FastAPI, a wrong address", 405, r#"{"detail":"Method Not Allowed"}"#, NotTheApi),
        said("a wrong address", 404, r#"{"error":"Not Found"}"#, NotTheApi),
        said("a wrong address", 404, r#"{"code":404,"msg":"NOT_FOUND","success":false}"#, NotTheApi),
        said("a portal", 400, r#"{"status":"bad"}"#, NotTheApi),
        said("a portal", 401, r#"{"error":"Unauthorized"}"#, NotTheApi),
        said("a portal", 401, r#"{"code":"401","error":"Unauthorized"}"#, NotTheApi),
        said("a portal", 402, r#"{"code":"402","error":"Payment Required"}"#, NotTheApi),
        said("a portal", 400, "[]", NotTheApi),
        said("a portal", 400, r#"[["x","y","message"]]"#, NotTheApi),
    ]);
}

#[test]
fn an_error_in_a_2xx_is_one_in_the_shapes_of_minimax_zhipu_and_lm_studio_too() {
    let minimax =
        |code: u16| format!(r#"{{"id":"1","choices":null,"base_resp":{{"status_code":{code},"status_msg":"m"}}}}"#);
    let zhipu = |code: u16| format!(r#"{{"code":{code},"msg":"m","success":false}}"#);
    let wrong_address = r#"{"error":"Unexpected endpoint or method. (POST /v1/messages)"}"#;
    for (body, class, status) in [
        (minimax(1004), Class::Credential, 401),
        (minimax(1008), Class::Account, 402),
        (minimax(1002), Class::RateLimited, 429),
        (minimax(2013), Class::ClientError, 400),
        (minimax(1027), Class::ClientError, 400),
        (minimax(1033), Class::UpstreamStatus, 500),
        (zhipu(401), Class::Credential, 401),
        (zhipu(1001), Class::Credential, 401),
        (zhipu(500), Class::UpstreamStatus, 500),
        (wrong_address.to_owned(), Class::UpstreamStatus, 500),
        (r#"{"code":"InternalError","message":"m","request_id":"r"}"#.to_owned(), Class::UpstreamStatus, 500),
        (google_list(503, "UNAVAILABLE", "The model is overloaded."), Class::UpstreamStatus, 503),
        (
            r#"{"choices":[{"message":{"content":"h"},"finish_reason":"error","error":{"code":429,"message":"m"}}]}"#
                .to_owned(),
            Class::RateLimited,
            429,
        ),
        (
            r#"{"choices":[{"message":{"content":"h"},"finish_reason":"network_error"}]}"#.to_owned(),
            Class::UpstreamStatus,
            500,
        ),
    ] {
        let judgement = judge(PathKind::Llm, &head(200, JSON), &body);
        assert_eq!((judgement.class, judgement.status), (class, Some(status)), "{body}");
    }
    // With their own statuses, as events: three requests that were at fault themselves isolated an endpoint.
    let stream = Some("text/event-stream");
    let event = |status: u16| format!("event: error\ndata: {{\"error\":\"Claude API error\",\"status\":{status}}}\n\n");
    for (status, class) in [(400, Class::ClientError), (429, Class::RateLimited), (529, Class::Overloaded)] {
        for (before, behind) in [("", ""), (": a comment\n\n", "data: [DONE]\n\n"), ("id: 1\n", "\n\n")] {
            let body = format!("{before}{}{behind}", event(status));
            assert_eq!(judge(PathKind::Llm, &head(status, stream), &body).class, class, "{body}");
        }
    }
    assert_eq!(judge(PathKind::Llm, &head(400, stream), "data: oops\n\n").class, Class::NotTheApi);
    let answer = r#""choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]"#;
    for body in [
        format!(r#"{{{answer},"base_resp":{{"status_code":0,"status_msg":""}}}}"#),
        format!(r#"{{{answer},"base_resp":{{"status_code":1027,"status_msg":"output"}}}}"#),
        format!(r#"{{{answer},"error":"none"}}"#),
        r#"{"id":"1","choices":[],"base_resp":{"status_code":0,"status_msg":"success"}}"#.to_owned(),
        r#"{"code":200,"msg":"ok","success":true}"#.to_owned(),
        r#"{"content":[{"type":"text","text":"hi"}],"detail":"x","error":""}"#.to_owned(),
        r#"{"output":[],"detail":"x"}"#.to_owned(),
        format!(r#"{{"error":"x","pad":"{}"}}"#, "x".repeat(16 << 10)),
    ] {
        assert_eq!(judge(PathKind::Llm, &head(200, JSON), &body).class, Class::Success, "{body}");
    }
}

#[test]
fn what_is_busy_is_waited_out_or_counts_as_before() {
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    assert_all([
        said(
            "Moonshot",
            429,
            anthropic("engine_overloaded_error", "The engine is currently overloaded"),
            Class::RateLimited,
        ),
        said(
            "Text Generation Inference",
            429,
            r#"{"error":"overloaded","error_type":"overloaded"}"#,
            Class::RateLimited,
        ),
        said("Bedrock's gateway", 429, r#"{"detail":"An error occurred (ThrottlingException)"}"#, Class::RateLimited),
        said("Text Generation Inference", 424, r#"{"error":"x","error_type":"generation"}"#, Class::NotTheApi),
        said("llama.cpp", 503, loading, Class::UpstreamStatus),
        said("OpenRouter", 502, r#"{"error":{"message":"Provider returned error","code":502}}"#, Class::UpstreamStatus),
        said("Model Studio", 200, openai("limit_requests", "limit_requests", "m"), Class::RateLimited),
        said("Moonshot", 200, anthropic("engine_overloaded_error", "m"), Class::RateLimited),
    ]);
}

#[test]
fn a_windows_end_may_be_told_in_milliseconds_since_1970() {
    let openrouter = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1794744060000")];
    let azure =
        [("retry-after-ms", "1500"), ("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "20")];
    for (headers, seconds) in [(&openrouter[..], 60), (&azure[..], 20)] {
        let limits = limits(headers);
        let head = AnswerHead { limits: &limits, ..head(429, JSON) };
        let throttle = judge(PathKind::Llm, &head, r#"{"error":{"message":"m","code":429}}"#).throttle;
        assert_eq!(throttle, Some(Throttle::Named(Duration::from_secs(seconds))), "{headers:?}");
    }
}

/// Found with a client that named such a model: each of its requests isolated an endpoint.
#[test]
fn what_a_client_has_named_is_no_word_about_the_account_or_the_key() {
    let names = [
        "Your credit balance is too low",
        " Your credit balance is too low",
        "API key not valid. Please pass a valid API key",
        "anthropic error: You exceeded your current quota",
        r#"litellm.X: Y - {"error":{"message":"Your credit balance is too low"}}"#,
        r#"litellm.X: Y - {"error":{"type":"insufficient_quota","message":"z is not a valid model ID"}}"#,
    ];
    for name in names {
        let unknown = format!("{name} is not a valid model ID");
        let within = serde_json::json!({ "error": { "message": unknown } });
        for message in [
            unknown.clone(),
            unknown.trim().to_owned(),
            format!("{name}: there is no such model"),
            format!("openrouter error: {unknown}"),
            format!("litellm.BadRequestError: OpenrouterException - {within}. Received Model Group=x"),
        ] {
            let body = serde_json::json!({ "error": { "message": message, "code": 400 } }).to_string();
            let head = AnswerHead { model: Some(name), ..head(400, JSON) };
            let class = judge(PathKind::Llm, &head, &body).class;
            assert!(matches!(class, Class::ClientError | Class::ModelMissing), "{message}: {class:?}");
        }
    }
    let within_prefix = AnswerHead { model: Some("acme/Your credit balance is too low"), ..head(400, JSON) };
    let body = openai("x", "y", "Your credit balance is too low: unknown");
    assert_eq!(judge(PathKind::Llm, &within_prefix, &body).class, Class::ClientError);
    let named_like_its_provider = AnswerHead { model: Some("openai"), ..head(400, JSON) };
    let body = openai("x", "y", "openai error: You exceeded your current quota");
    assert_eq!(judge(PathKind::Llm, &named_like_its_provider, &body).class, Class::Account, "it is Portkey's word");
    assert_all([
        said("Portkey", 400, openai("x", "y", "openrouter error: acme/x is not a valid model ID"), Class::ModelMissing),
        said(
            "Google",
            400,
            google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
            Class::Credential,
        ),
    ]);
}
