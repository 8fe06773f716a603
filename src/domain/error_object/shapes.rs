//! Errors in shapes of neither protocol. Shapes that portals and wrong addresses answer with too are read only with a
//! status that those do not have.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ErrorObject, object, text};

/// The longest good answer that is searched for these shapes, in bytes.
const LONGEST_IN_SUCCESS: usize = 16 << 10;

/// Signs of these shapes in a 200: each has one of these members, or one of these reasons for the end of a failed answer.
static SIGNS_IN_SUCCESS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| {
    let members = [r#""base_resp""#, r#""success""#, r#""error""#, r#""request_id""#];
    let [base_resp, success, error, request_id] = members.map(Finder::new);
    let reasons = [r#""network_error""#, r#""insufficient_system_resource""#];
    let [network, resource] = reasons.map(Finder::new);
    [base_resp, success, error, request_id, network, resource]
});

/// The types that `MiniMax`'s numbers stand for; all other numbers are its own fault.
const MINIMAX: [(u64, &str); 11] = [
    (1002, "rate_limit_error"),
    (1004, "authentication_error"),
    (1008, "insufficient_balance_error"),
    (1026, "invalid_request_error"),
    (1027, "invalid_request_error"),
    (1039, "rate_limit_error"),
    (1041, "rate_limit_error"),
    (1042, "invalid_request_error"),
    (2013, "invalid_request_error"),
    (2049, "authentication_error"),
    (2056, "rate_limit_error"),
];

/// The numbers with which Zhipu refuses a key.
const ZHIPUS_KEY: std::ops::RangeInclusive<u64> = 1000..=1005;

/// The beginnings of messages about a key from Azure's API management.
const AZURES_KEY: [&str; 2] = ["Access denied due to ", "Unauthorized. Access token is missing, invalid"];

#[derive(Deserialize)]
struct Flat<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    msg: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    success: Option<&'a RawValue>,
    #[serde(borrow, rename = "statusCode")]
    status_code: Option<&'a RawValue>,
    #[serde(borrow)]
    base_resp: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct BaseResp {
    status_code: u64,
    #[serde(default)]
    status_msg: String,
}

/// Reads an answer with this status.
pub(super) fn read(status: u16, body: &[u8]) -> Option<ErrorObject> {
    let is_success = matches!(status, 200..=299);
    // Most good answers are spared another parse.
    if is_success && (body.len() > LONGEST_IN_SUCCESS || !SIGNS_IN_SUCCESS.iter().any(|sign| sign.find(body).is_some()))
    {
        return None;
    }
    let flat: Flat<'_> = object(body)?;
    if let Some(error) = is_success.then(|| flat.of_choice()).flatten() {
        return Some(error);
    }
    let answers = [flat.choices, flat.content, flat.output, flat.data];
    if answers.into_iter().flatten().any(|answer| !matches!(answer.get(), "null" | "[]" | "\"\"")) {
        return None;
    }
    let may_be_wrong_address = matches!(status, 404 | 405);
    // A portal's words about a credential must not isolate an endpoint; xAI refuses a key with a 400.
    let may_be_portal = matches!(status, 401 | 402);
    flat.of_minimax()
        .or_else(|| is_success.then(|| flat.of_zhipu()).flatten())
        .or_else(|| {
            let xai = (!may_be_portal).then(|| flat.of_xai()).flatten();
            let error = xai.or_else(|| flat.of_model_studio());
            error.filter(|error| !may_be_wrong_address || is_about_model(error))
        })
        .or_else(|| flat.of_azure(status))
        .or_else(|| is_success.then(|| flat.of_claude_relay().or_else(|| flat.of_lm_studio())).flatten())
        .or_else(|| (status == 400).then(|| flat.of_others()).flatten())
}

impl Flat<'_> {
    /// `{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}`, with a 200.
    fn of_minimax(&self) -> Option<ErrorObject> {
        let base: BaseResp = object(self.base_resp?.get().as_bytes())?;
        let kind = MINIMAX.iter().find(|(code, _)| *code == base.status_code).map(|(_, kind)| (*kind).to_owned());
        (base.status_code != 0).then(|| error(kind, None, Some(base.status_code), base.status_msg))
    }

    /// `{"code":401,"msg":"token expired or incorrect","success":false}`, with a 200.
    fn of_zhipu(&self) -> Option<ErrorObject> {
        let has_failed = self.success.is_some_and(|success| success.get() == "false");
        let code: u64 = serde_json::from_str(self.code?.get()).ok()?;
        let kind = ZHIPUS_KEY.contains(&code).then(|| "authentication_error".to_owned());
        text(self.msg).filter(|_| has_failed).map(|message| error(kind, None, Some(code), message))
    }

    /// `{"code":"Client specified an invalid argument","error":"…"}`.
    fn of_xai(&self) -> Option<ErrorObject> {
        Some(error(None, Some(text(self.code)?), None, text(self.error)?))
    }

    /// `{"code":"Arrearage","message":"…","request_id":"…"}`, of Alibaba's Model Studio.
    fn of_model_studio(&self) -> Option<ErrorObject> {
        text(self.request_id)?;
        Some(error(None, Some(text(self.code)?), None, text(self.message)?))
    }

    /// `{"statusCode":401,"message":"Access denied due to …"}`. With a 404 it would mean a wrong address.
    fn of_azure(&self, status: u16) -> Option<ErrorObject> {
        let named: u16 = serde_json::from_str(self.status_code?.get()).ok()?;
        let message = text(self.message)?;
        let is_about_key = status == 401 && AZURES_KEY.iter().any(|phrase| message.starts_with(phrase));
        (named == status && is_about_key).then(|| error(None, None, Some(named.into()), message))
    }

    /// `{"choices":[{"finish_reason":"error","error":{"code":502,"message":"…"}}]}`, of `OpenRouter`, with a 200.
    fn of_choice(&self) -> Option<ErrorObject> {
        let choices: Vec<&RawValue> = serde_json::from_str(self.choices?.get()).ok()?;
        let choices: Vec<Choice<'_>> =
            choices.into_iter().filter_map(|choice| object(choice.get().as_bytes())).collect();
        let told = |choice: &Choice<'_>| Some(ErrorObject::of_member(choice.error?.get())?.0);
        choices.iter().find_map(told).or_else(|| {
            let message = ErrorObject::failed_finish(choices.iter().filter_map(|choice| text(choice.finish_reason)))?;
            Some(error(Some("api_error".to_owned()), None, None, message))
        })
    }

    /// `{"error":"Claude API error","status":429,"details":"{\"type\":\"error\",…}"}`, of relays in front of Claude, in a
    /// stream.
    fn of_claude_relay(&self) -> Option<ErrorObject> {
        let message = text(self.error)?;
        let status: u16 =
            serde_json::from_str(self.status?.get()).ok().filter(|status| (400..=599).contains(status))?;
        let provider = text(self.details).and_then(|details| ErrorObject::read(details.as_bytes()));
        provider.or_else(|| Some(error(None, None, Some(status.into()), message)))
    }

    /// `{"error":"Unexpected endpoint or method. (POST /v1/messages)"}`, with a 200.
    fn of_lm_studio(&self) -> Option<ErrorObject> {
        text(self.error).map(|message| error(None, None, None, message))
    }

    /// `{"detail":"Unsupported model x"}`, of AWS's gateway to Bedrock; Bedrock itself says `message`, LiteLLM `error`. A
    /// text that says anything else may be a portal's.
    fn of_others(&self) -> Option<ErrorObject> {
        let message = text(self.error).or_else(|| text(self.message)).or_else(|| text(self.detail))?;
        Some(error(None, None, None, message)).filter(ErrorObject::lacks_model_in_own_words)
    }
}

/// Whether the error says that a model was not found.
fn is_about_model(error: &ErrorObject) -> bool {
    let begins_so = |code: &String| code.starts_with("Model") || code.starts_with("model");
    error.code.as_ref().is_some_and(begins_so) || error.message.starts_with("The model ")
}

fn error(kind: Option<String>, code: Option<String>, numeric_code: Option<u64>, message: String) -> ErrorObject {
    ErrorObject { kind, code, numeric_code, message, begins_with_clients_word: false, wrapped: None }
}
