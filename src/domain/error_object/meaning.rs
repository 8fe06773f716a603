//! What an error means: by the types, codes and phrases of the protocols' own providers, and of those that speak like them.

use super::{ErrorObject, providers, relays};

/// The beginnings of messages about a used-up account. Only a message's beginning is compared: further on it may quote what
/// a client has written.
const ACCOUNT_PHRASES: [&str; 3] = [
    "Your credit balance is too low",
    "You have reached your specified API usage limits",
    "You exceeded your current quota",
];

/// Types and codes for a used-up account. `insufficient_user_quota` is the word of new-api and one-api.
const ACCOUNT_CODES: [&str; 5] = [
    "billing_error",
    "insufficient_quota",
    "insufficient_user_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
];

/// The codes with which the Responses API says that it can't continue a conversation begun by another account: only that
/// account can read what its model thought, and find what is stored there.
const OTHER_ACCOUNT_CODES: [&str; 2] = ["invalid_encrypted_content", "previous_response_not_found"];

/// How it says so of a stored part of the conversation. There is no code.
const OTHER_ACCOUNT_PHRASE: &str = "Item with id '";

/// Types and codes for a fault of the request itself. Most are of the Responses API, whose errors come in a 200.
const REQUEST_WORDS: [&str; 21] = [
    "invalid_request_error",
    "context_length_exceeded",
    "invalid_prompt",
    "content_policy_violation",
    "content_filter",
    "bio_policy",
    "cyber_policy",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "invalid_base64_image",
    "image_too_large",
    "image_too_small",
    "image_file_too_large",
    "image_file_not_found",
    "image_parse_error",
    "image_content_policy_violation",
    "empty_image_file",
    "failed_to_download_image",
    "unsupported_image_media_type",
];

/// The beginning of OpenAI's message about an unknown model, for relays that leave out its code.
const NO_MODEL_PHRASE: &str = "The model `";

/// What new-api and one-api say if none of their channels has the model. It follows the names of the group and the model.
const NO_CHANNEL_PHRASE: &str = "无可用渠道";

impl ErrorObject {
    /// Whether it says that the account behind the credential is used up.
    #[must_use]
    pub fn is_about_account(&self) -> bool {
        let begins_so = || ACCOUNT_PHRASES.iter().any(|phrase| self.own_words().starts_with(phrase));
        ACCOUNT_CODES.iter().any(|code| self.says(code))
            || (begins_so() && !providers::is_about_rate(&self.message))
            || relays::has_spent_budget(self)
            || providers::has_used_up_account(self)
            || self.wrapped.as_ref().is_some_and(|wrapped| wrapped.is_about_account())
    }

    /// Whether it says, in a relay's or provider's own words, that the credential is unknown.
    #[must_use]
    pub fn is_about_credential(&self) -> bool {
        relays::refuses_key(self) || providers::refuses_key(self)
    }

    /// Whether it says, in a provider's own words, that there is one credential too many. That may be the client's.
    #[must_use]
    pub fn is_about_too_many_credentials(&self) -> bool {
        providers::has_too_many_keys(self)
    }

    /// Whether it says that the endpoint is overloaded.
    #[must_use]
    pub fn is_overload(&self) -> bool {
        self.says("overloaded_error") || self.wrapped.as_ref().is_some_and(|wrapped| wrapped.is_overload())
    }

    /// Whether it says that the model is not available here: by its code, or as a not-found error that names `model`.
    #[must_use]
    pub fn is_about_model(&self, model: Option<&str>) -> bool {
        let names_model = || self.message.starts_with("model:") || self.names_model(model);
        let is_provider =
            |wrapped: &Self| wrapped.own_words().starts_with(NO_MODEL_PHRASE) || wrapped.is_about_model(model);
        self.says("model_not_found")
            || (self.says("not_found_error") && names_model())
            || self.wrapped.as_deref().is_some_and(is_provider)
    }

    /// Whether it names this model, whatever it says about it.
    #[must_use]
    pub fn names_model(&self, model: Option<&str>) -> bool {
        model.is_some_and(|model| names(&self.message, model))
    }

    /// Whether a relay or provider says, in its own words, that the model is not available with this key.
    #[must_use]
    pub fn lacks_model_in_own_words(&self) -> bool {
        relays::refuses_model(self)
            || providers::lacks_model(self)
            || self.wrapped.as_deref().is_some_and(providers::lacks_model)
    }

    /// Whether it says that the request refers to something that only another account can read or find.
    #[must_use]
    pub fn is_about_another_account(&self) -> bool {
        OTHER_ACCOUNT_CODES.iter().any(|code| self.says(code)) || self.own_words().starts_with(OTHER_ACCOUNT_PHRASE)
    }

    /// Whether a relay says that none of its channels has the model.
    #[must_use]
    pub fn is_about_channel(&self) -> bool {
        self.says("model_not_found") || self.message.contains(NO_CHANNEL_PHRASE)
    }

    /// The status that this error stands for if it came with a 2xx. An unknown type stands for 500.
    #[must_use]
    pub fn stands_for(&self) -> u16 {
        self.status_by_its_words().unwrap_or(500)
    }

    /// The status that its code, type or number stands for, if known.
    pub fn status_by_its_words(&self) -> Option<u16> {
        let by_word = [&self.code, &self.kind].into_iter().flatten().find_map(|word| status_of(word));
        let by_number = self.numeric_code.and_then(|code| u16::try_from(code).ok());
        by_word.or(by_number.filter(|code| (400..=599).contains(code)))
    }
}

/// Whether a text names a model as a separate word: `o1` is not found in `claude-opus-4-o10`.
fn names(text: &str, model: &str) -> bool {
    let goes_on = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !model.is_empty()
        && text.match_indices(model).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at + model.len()..).and_then(|after| after.chars().next());
            !goes_on(before) && !goes_on(after)
        })
}

/// The statuses with which the providers document these types and codes.
fn status_of(word: &str) -> Option<u16> {
    Some(match word {
        _ if REQUEST_WORDS.contains(&word) || OTHER_ACCOUNT_CODES.contains(&word) => 400,
        _ if providers::RATE_WORDS.contains(&word) => 429,
        "authentication_error" | "invalid_authentication_error" | "invalid_api_key" => 401,
        "billing_error" | "insufficient_balance_error" => 402,
        "permission_error" => 403,
        "not_found_error" | "resource_not_found_error" | "model_not_found" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
        "api_error" | "server_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<ErrorObject> {
        ErrorObject::read(body.as_bytes())
    }

    #[test]
    fn an_account_phrase_counts_at_the_beginning_only() {
        let at_start = r#"{"error":{"message":"Your credit balance is too low to access the API"}}"#;
        let quoted = r#"{"error":{"message":"invalid text: Your credit balance is too low"}}"#;
        assert!(read(at_start).unwrap().is_about_account());
        assert!(!read(quoted).unwrap().is_about_account());
    }

    #[test]
    fn a_model_is_named_only_by_a_word_of_its_own() {
        for (message, model, names_it) in [
            ("there is no o1 here", Some("o1"), true),
            ("`o1` does not exist", Some("o1"), true),
            ("there is no foo1 here", Some("o1"), false),
            ("there is no o10, but o1", Some("o1"), true),
            ("没有模型o1。", Some("o1"), false),
            ("not found", Some(""), false),
            ("not found", None, false),
            ("model: anything", None, true),
        ] {
            let body = format!(r#"{{"error":{{"type":"not_found_error","message":"{message}"}}}}"#);
            assert_eq!(read(&body).unwrap().is_about_model(model), names_it, "{message} {model:?}");
        }
    }

    #[test]
    fn every_type_stands_for_a_status() {
        for (fields, status) in [
            (r#""type":"invalid_request_error""#, 400),
            (r#""type":"authentication_error""#, 401),
            (r#""type":"invalid_request_error","code":"invalid_api_key""#, 401),
            (r#""type":"billing_error""#, 402),
            (r#""type":"permission_error""#, 403),
            (r#""type":"not_found_error""#, 404),
            (r#""type":"invalid_request_error","code":"model_not_found""#, 404),
            (r#""type":"request_too_large""#, 413),
            (r#""type":"rate_limit_error""#, 429),
            (r#""type":"tokens","code":"rate_limit_exceeded""#, 429),
            (r#""type":"api_error""#, 500),
            (r#""type":"timeout_error""#, 504),
            (r#""type":"overloaded_error""#, 529),
            (r#""message":"m","code":503"#, 503),
            (r#""message":"m","code":200"#, 500),
            (r#""message":"m","code":"429""#, 429),
            (r#""message":"m","code":"0429x""#, 500),
            (r#""message":"m","code":"content_filter""#, 400),
            (r#""message":"m","code":"image_too_large""#, 400),
            (r#""message":"m","code":"failed_to_download_image""#, 400),
            (r#""message":"m","code":"vector_store_timeout""#, 500),
            (r#""type":"never_heard_of""#, 500),
        ] {
            assert_eq!(read(&format!(r#"{{"error":{{{fields}}}}}"#)).unwrap().stands_for(), status, "{fields}");
        }
    }
}
