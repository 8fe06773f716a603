//! How widespread relays word their own errors, and what they wrap around their provider's.

use serde_json::value::RawValue;

use super::ErrorObject;

/// How LiteLLM begins a message that contains its provider's: `litellm.BadRequestError: AnthropicException - `.
const LITELLM: &str = "litellm.";

/// What follows LiteLLM's names of exceptions.
const LITELLM_END: &str = " - ";

/// What follows the provider's name when Portkey passes on its message: `anthropic error: `.
const PORTKEY_END: &str = " error: ";

/// The end of LiteLLM's types for a key, team or user without access to the model. Older ones come with a 401.
const NO_ACCESS_TYPE: &str = "_model_access_denied";

/// The beginnings of one-api's and new-api's messages about a key without access to the model. They come with a 403.
const NO_ACCESS_PHRASES: [&str; 3] = ["该令牌无权访问模型", "该令牌无权使用模型", "This token has no access to model "];

/// What LiteLLM says, after the name of its route, about a model that it does not have. It comes with a 400.
const UNKNOWN_MODEL_PHRASE: &str = ": Invalid model name passed in model=";

/// LiteLLM's type for a key other than its master key if it has no database to look it up in. It comes with a 400.
const UNKNOWN_KEY_TYPE: &str = "no_db_connection";

/// The beginning of new-api's and one-api's message about an unknown key.
const CREDENTIAL_PHRASE: &str = "无效的令牌";

/// LiteLLM's type for a spent budget. Its status has been 400, 429 and 422.
const BUDGET_TYPE: &str = "budget_exceeded";

/// What its message contains if the budget is not the key's or its owner's, but belongs to something that a request names.
const REQUESTS_BUDGET_PHRASES: [&str; 4] = ["End User=", "Tag=", "Model access group=", "exceeded budget for model"];

/// What the provider said, if this is a relay's message with the relay's own words around it. Those must begin the message,
/// so that nothing a client has written is taken for them.
pub(super) fn unwrapped(message: &str) -> Option<ErrorObject> {
    let inner = behind_litellm(message).or_else(|| behind_portkey(message))?;
    // Older versions show a provider's answer as Python writes bytes.
    let as_object = inner.strip_prefix("b'").unwrap_or(inner);
    let object = serde_json::Deserializer::from_str(as_object).into_iter::<&RawValue>().next();
    let object = object.and_then(Result::ok).and_then(|object| ErrorObject::read_plain(object.get().as_bytes()));
    Some(object.unwrap_or_else(|| ErrorObject::of_message(inner)))
}

fn behind_litellm(message: &str) -> Option<&str> {
    let (names, inner) = message.strip_prefix(LITELLM)?.split_once(LITELLM_END)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | ' ' | '_');
    names.chars().all(is_name).then_some(inner)
}

fn behind_portkey(message: &str) -> Option<&str> {
    let (provider, inner) = message.split_once(PORTKEY_END)?;
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (!provider.is_empty() && provider.bytes().all(is_word)).then_some(inner)
}

/// Whether a relay says that this key may not use the model, or that it has no such model.
pub(super) fn refuses_model(error: &ErrorObject) -> bool {
    let is_route = |route: &str| !route.is_empty() && !route.contains(char::is_whitespace);
    let is_unknown = || error.own_words().split_once(UNKNOWN_MODEL_PHRASE).is_some_and(|(route, _)| is_route(route));
    error.kind.as_deref().is_some_and(|kind| kind.ends_with(NO_ACCESS_TYPE))
        || NO_ACCESS_PHRASES.iter().any(|phrase| error.own_words().starts_with(phrase))
        || is_unknown()
}

/// Whether a relay says that it does not know the key.
pub(super) fn refuses_key(error: &ErrorObject) -> bool {
    error.own_words().starts_with(CREDENTIAL_PHRASE) || error.has_kind(UNKNOWN_KEY_TYPE)
}

/// Whether a relay says that the key's budget is spent.
pub(super) fn has_spent_budget(error: &ErrorObject) -> bool {
    error.has_kind(BUDGET_TYPE) && !REQUESTS_BUDGET_PHRASES.iter().any(|phrase| error.message.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_said_is_found_within_a_relays_words() {
        let credit =
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#;
        let overload = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let quota = "You exceeded your current quota, please check your plan";
        let group = "\n\nLiteLLM: model group 'm' failed with the error above.";
        for (message, is_account, is_overload) in [
            (format!("litellm.BadRequestError: AnthropicException - {credit}{group}"), true, false),
            (format!("litellm.BadRequestError: AnthropicException - b'{credit}'{group}"), true, false),
            (format!("litellm.RateLimitError: RateLimitError: OpenAIException - {quota}{group}"), true, false),
            (format!("litellm.InternalServerError: AnthropicError - {overload}. Handle with it.{group}"), false, true),
            ("anthropic error: Your credit balance is too low".to_owned(), true, false),
            (format!("openai error: {quota}"), true, false),
            // A client may have written these.
            (format!("litellm.BadRequestError: X - invalid text: {quota}"), false, false),
            (format!("litellm.BadRequestError: invalid `text` - {quota}"), false, false),
            (format!("Invalid text: litellm.RateLimitError: X - {quota}"), false, false),
            (format!("there was an error: {quota}"), false, false),
            (format!("anthropic error: anthropic error: {quota}"), false, false),
        ] {
            let body = serde_json::json!({ "error": { "message": message, "type": "x", "code": "400" } }).to_string();
            let error = ErrorObject::read(body.as_bytes()).unwrap();
            assert_eq!((error.is_about_account(), error.is_overload()), (is_account, is_overload), "{message}");
        }
    }

    #[test]
    fn a_budget_for_what_a_request_names_is_not_the_account() {
        for (message, is_account) in [
            ("Budget has been exceeded! Current cost: 2.1, Max budget: 2.0", true),
            ("ExceededBudget: User=u over budget. Spend=2.1, Budget=2.0", true),
            ("ExceededBudget: End User=u over budget. Spend=2.1, Budget=2.0", false),
            ("Budget has been exceeded! Tag=t Current cost: 2.1, Max budget: 2.0", false),
            ("LiteLLM Virtual Key: k, key_alias: a, exceeded budget for model=m", false),
        ] {
            let body = serde_json::json!({ "error": { "message": message, "type": "budget_exceeded" } }).to_string();
            assert_eq!(ErrorObject::read(body.as_bytes()).unwrap().is_about_account(), is_account, "{message}");
        }
    }
}
