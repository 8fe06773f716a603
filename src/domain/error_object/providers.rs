//! How providers that speak either protocol word what the protocols' own providers express by a type or a code.

use super::ErrorObject;

/// Types and codes for a used-up account: of Moonshot, `MiniMax`, Alibaba's Model Studio, and of Groq, if a spend limit is
/// reached or the account is blocked. Their statuses are 400, 402, 403, 429 and 500.
const ACCOUNT_WORDS: [&str; 5] = [
    "exceeded_current_quota_error",
    "insufficient_balance_error",
    "Arrearage",
    "blocked_api_access",
    "organization_restricted",
];

/// The beginnings of messages about a used-up account. Zhipu's come with a 429, `MiniMax`'s with a 500, Model Studio's with
/// a 400, Google's with a 429, xAI's with a 403.
const ACCOUNT_PHRASES: [&str; 7] = [
    "Insufficient balance or no resource package",
    "余额不足或无可用资源包",
    "您的账户已欠费",
    "insufficient balance (1008)",
    "Access denied, please make sure your account is in good standing",
    "Your prepayment credits are depleted",
    "Your newly created team doesn't have any credits or licenses yet",
];

/// What stands before and after the account's name in messages about a used-up account: xAI's, with a 403 or 429, and that
/// of Fireworks, with a 412.
const ACCOUNT_PHRASES_AROUND_NAMES: [(&str, &str); 2] = [
    ("Your team ", " has either used all available credits or reached its monthly spending limit"),
    ("Account ", " is suspended, possibly due to reaching the monthly spending limit"),
];

/// Google says of its rate limits what OpenAI says of an account: a page that only Google's message names tells them apart.
const GOOGLES_RATES: &str = "https://ai.google.dev/gemini-api/docs/rate-limits";

/// Types and codes that stand for a 429: Moonshot's, and those of Alibaba's Model Studio.
pub(super) const RATE_WORDS: [&str; 7] = [
    "rate_limit_reached_error",
    "engine_overloaded_error",
    "exceeded_current_quota_error",
    "limit_requests",
    "limit_burst_rate",
    "Throttling.RateQuota",
    "Throttling.AllocationQuota",
];

/// The beginnings of messages that refuse a key with a 400: Google's and xAI's.
const KEY_PHRASES: [&str; 3] = [
    "API key not valid. Please pass a valid API key",
    "API key expired. Please renew the API key",
    "Incorrect API key provided",
];

/// What Google says, with a 400, of one key too many. The extra key may be one that the operator put into the headers, or
/// one that a client put into the query.
const KEYS_PHRASE: &str = "Multiple authentication credentials received";

/// Codes for a model that does not exist: of Azure, Together, GitHub's Copilot and Models, and Groq.
const MODEL_CODES: [&str; 5] =
    ["DeploymentNotFound", "model_not_available", "model_not_supported", "unknown_model", "model_decommissioned"];

/// The beginnings of messages about a model that does not exist: of `DeepSeek`, Zhipu, Fireworks, and of Bedrock and AWS's
/// gateway to it.
const MODEL_PHRASES: [&str; 7] = [
    "Model Not Exist",
    "Unknown Model, please check the model code",
    "模型不存在，请检查模型代码",
    "Model not found, inaccessible, and/or not",
    "Unsupported model ",
    "The provided model identifier is invalid",
    "An error occurred (ValidationException) when calling the Converse operation: The provided model identifier is invalid",
];

/// What `OpenRouter` says after the name of an unknown model.
const UNKNOWN_NAME: &str = " is not a valid model ID";

/// Whether the account is used up.
pub(super) fn has_used_up_account(error: &ErrorObject) -> bool {
    let is_around_name = |&(before, behind): &(&str, &str)| {
        let from_name = error.own_words().strip_prefix(before).unwrap_or_default();
        from_name.find(' ').and_then(|end| from_name.get(end..)).is_some_and(|rest| rest.starts_with(behind))
    };
    ACCOUNT_WORDS.iter().any(|word| error.says(word))
        || begins_with_any(error, &ACCOUNT_PHRASES)
        || ACCOUNT_PHRASES_AROUND_NAMES.iter().any(is_around_name)
}

/// Whether a message that reads like one about an account is about a rate.
pub(super) fn is_about_rate(message: &str) -> bool {
    message.contains(GOOGLES_RATES)
}

/// Whether the key is refused, though the status does not say so.
pub(super) fn refuses_key(error: &ErrorObject) -> bool {
    begins_with_any(error, &KEY_PHRASES)
}

/// Whether there is one key too many, the operator's or the client's.
pub(super) fn has_too_many_keys(error: &ErrorObject) -> bool {
    error.own_words().starts_with(KEYS_PHRASE)
}

/// Whether a message begins with the model name that it is about. The name is the client's.
pub(super) fn is_about_a_name(message: &str) -> bool {
    message.ends_with(UNKNOWN_NAME)
}

/// Whether the model does not exist, though the status or type does not say so.
pub(super) fn lacks_model(error: &ErrorObject) -> bool {
    let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    MODEL_CODES.iter().any(|code| error.has_code(code))
        || begins_with_any(error, &MODEL_PHRASES)
        || error.message.strip_suffix(UNKNOWN_NAME).is_some_and(is_name)
}

fn begins_with_any(error: &ErrorObject, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| error.own_words().starts_with(phrase))
}
