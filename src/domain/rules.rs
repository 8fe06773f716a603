//! The operator's rules for relays that word their errors in their own way. They take precedence over the outcome table.

use super::error_object::ErrorObject;

/// What an answer that matches a rule is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The account is used up.
    Account,
    /// The credential is refused.
    Credential,
    /// The endpoint lacks the model.
    Model,
    /// The request is at fault.
    Client,
    /// The endpoint is overloaded.
    Overloaded,
    /// A failure that counts against the endpoint.
    Failure,
}

impl Meaning {
    /// Every meaning.
    pub const ALL: [Self; 6] =
        [Self::Account, Self::Credential, Self::Model, Self::Client, Self::Overloaded, Self::Failure];

    /// Its word in the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Credential => "credential",
            Self::Model => "model",
            Self::Client => "client",
            Self::Overloaded => "overloaded",
            Self::Failure => "failure",
        }
    }

    /// The status with which an error in a 2xx is passed on if its own words stand for none.
    #[must_use]
    pub const fn stands_for(self) -> u16 {
        match self {
            Self::Account => 402,
            Self::Credential => 401,
            Self::Model => 404,
            Self::Client => 400,
            Self::Overloaded => 529,
            Self::Failure => 500,
        }
    }
}

/// One rule: its conditions, and what they mean together. A condition that is left out holds for every error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The answer's status, or the one for which an error in a 2xx stands.
    pub status: Option<u16>,
    /// The error's type.
    pub kind: Option<String>,
    /// The error's code.
    pub code: Option<String>,
    /// Words that the error's message contains.
    pub contains: Option<String>,
    /// What it means if all of these hold.
    pub meaning: Meaning,
}

impl Rule {
    /// Whether it has no condition, so that every error would match.
    #[must_use]
    pub fn fits_everything(&self) -> bool {
        self.status.is_none() && !self.asks_for_an_error()
    }

    fn asks_for_an_error(&self) -> bool {
        [&self.kind, &self.code, &self.contains].into_iter().any(Option::is_some)
    }

    fn fits(&self, statuses: &[u16], error: Option<&ErrorObject>) -> bool {
        if self.status.is_some_and(|status| !statuses.contains(&status)) {
            return false;
        }
        let Some(error) = error else { return !self.asks_for_an_error() };
        self.kind.as_deref().is_none_or(|kind| error.has_kind(kind))
            && self.code.as_deref().is_none_or(|code| error.has_code(code))
            && self.contains.as_deref().is_none_or(|words| error.message().contains(words))
    }
}

/// All rules, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// No rule at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Rules of which the first that matches wins.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// The rules one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.0.iter()
    }

    /// The meaning that the first matching rule gives to an error with any of these statuses. `None` if no rule matches.
    pub fn meaning(&self, statuses: &[u16], error: Option<&ErrorObject>) -> Option<Meaning> {
        self.0.iter().find(|rule| rule.fits(statuses, error)).map(|rule| rule.meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Rule = Rule { status: None, kind: None, code: None, contains: None, meaning: Meaning::Client };

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn fits(rule: &Rule, status: u16, body: &str) -> bool {
        rule.fits(&[status], ErrorObject::read(body.as_bytes()).as_ref())
    }

    #[test]
    fn every_condition_that_is_given_must_hold() {
        let body = r#"{"error":{"type":"forbidden","code":"pre_consume","message":"the quota is gone"}}"#;
        let rule = Rule {
            status: Some(403),
            kind: Some(text("forbidden")),
            code: Some(text("pre_consume")),
            contains: Some(text("quota")),
            ..ANY
        };
        assert!(fits(&rule, 403, body));
        for spoilt in [
            Rule { status: Some(400), ..rule.clone() },
            Rule { kind: Some(text("forbid")), ..rule.clone() },
            Rule { code: Some(text("Pre_consume")), ..rule.clone() },
            Rule { contains: Some(text("forbidden")), ..rule.clone() },
        ] {
            assert!(!fits(&spoilt, 403, body), "{spoilt:?}");
        }
        for alone in [
            Rule { status: Some(403), ..ANY },
            Rule { kind: Some(text("forbidden")), ..ANY },
            Rule { code: Some(text("pre_consume")), ..ANY },
            Rule { contains: Some(text("quota")), ..ANY },
        ] {
            assert!(fits(&alone, 403, body) && !alone.fits_everything(), "{alone:?}");
        }
        assert!(ANY.fits_everything());
    }

    #[test]
    fn words_are_looked_for_in_the_errors_message_alone() {
        let rule = Rule { contains: Some(text("quota")), ..ANY };
        for body in [
            r#"{"error":{"type":"quota","code":"quota","message":"x","detail":"quota"},"message":"quota"}"#,
            "quota",
            r#"{"message":"quota"}"#,
        ] {
            assert!(!fits(&rule, 403, body), "{body}");
        }
    }

    #[test]
    fn a_rule_for_a_status_alone_needs_no_error_object() {
        assert!(fits(&Rule { status: Some(403), ..ANY }, 403, "<h1>403</h1>"));
        assert!(!fits(&Rule { status: Some(403), kind: Some(text("x")), ..ANY }, 403, "<h1>403</h1>"));
    }

    #[test]
    fn a_code_may_be_a_number() {
        let rule = Rule { code: Some(text("1113")), ..ANY };
        assert!(fits(&rule, 429, r#"{"error":{"code":1113,"message":"x"}}"#));
        assert!(fits(&rule, 429, r#"{"error":{"code":"1113","message":"x"}}"#));
        assert!(!fits(&rule, 429, r#"{"error":{"code":1114,"message":"x"}}"#));
    }

    #[test]
    fn the_first_rule_that_fits_wins() {
        let rules = Rules::new([
            Rule { status: Some(403), kind: Some(text("a")), meaning: Meaning::Account, ..ANY },
            Rule { status: Some(403), meaning: Meaning::Failure, ..ANY },
            Rule { kind: Some(text("a")), meaning: Meaning::Client, ..ANY },
        ]);
        let error = ErrorObject::read(br#"{"error":{"type":"a"}}"#);
        assert_eq!(rules.meaning(&[403], error.as_ref()), Some(Meaning::Account));
        assert_eq!(rules.meaning(&[403], None), Some(Meaning::Failure));
        assert_eq!(rules.meaning(&[200, 500], error.as_ref()), Some(Meaning::Client));
        assert_eq!(rules.meaning(&[500], None), None);
    }
}
