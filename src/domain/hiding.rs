//! Masks the operator's secrets in what an endpoint says: some endpoints repeat the credential that they were sent.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2_iter;

use super::endpoint::{Auth, Endpoint};

/// The shortest secret that is masked, in bytes: a shorter one may occur by chance.
const SHORTEST: usize = 8;

/// A header holds a credential if a word of its name is one of these, or ends in one of [`ENDS_OF_A_CREDENTIAL`].
const OF_A_CREDENTIAL: [&str; 5] = ["auth", "authentication", "authorization", "credentials", "key"];
const ENDS_OF_A_CREDENTIAL: [&str; 7] = ["apikey", "cookie", "credential", "jwt", "password", "secret", "token"];

impl Endpoint {
    /// What the endpoint says, with the operator's secrets masked, also if escaped as in JSON (RFC 8259, section 7). The length
    /// stays the same.
    #[must_use]
    pub fn hidden_in(&self, words: Bytes) -> Bytes {
        self.without_secrets(&words).map_or(words, Bytes::from)
    }

    /// What the endpoint says, with the operator's secrets masked; `None` if it repeats none of them.
    #[must_use]
    pub fn without_secrets(&self, words: &[u8]) -> Option<Vec<u8>> {
        without(self.secrets(), words)
    }

    /// Its key, the URL's password and its basic-authentication form, and the values of headers that hold a credential.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let key = match &self.auth {
            Auth::Own { key, .. } => Some(key.expose()),
            Auth::Passthrough | Auth::Missing => None,
        };
        let user =
            self.base_url.userinfo().map(|userinfo| [userinfo.credentials().expose(), userinfo.password().expose()]);
        let headers = self.headers.iter().chain(&self.verify.headers).filter(|(name, _)| holds_a_credential(name));
        let words = headers.flat_map(|(_, value)| secrets_in(value.expose()));
        key.into_iter().chain(user.into_iter().flatten()).chain(words)
    }
}

/// The parts of a credential header's value that may be the secret: all of it, or each word. `Bearer` and the names of most
/// cookies are too short to be taken for one.
pub fn secrets_in(value: &str) -> impl Iterator<Item = &str> {
    std::iter::once(value).chain(value.split([' ', ';', ',', '=', '"']))
}

/// The words with these secrets masked, also if escaped as in JSON; `None` if they repeat none. The length stays the same.
#[must_use]
pub fn without<'s>(secrets: impl Iterator<Item = &'s str>, words: &[u8]) -> Option<Vec<u8>> {
    let mut hidden: Option<Vec<u8>> = None;
    for secret in secrets.filter(|secret| (SHORTEST..=words.len()).contains(&secret.len())) {
        let mut from = 0;
        while let Some(Range { start, end }) = place_of(secret.as_bytes(), words, from) {
            let hidden = hidden.get_or_insert_with(|| words.to_vec());
            hidden.iter_mut().take(end).skip(start).for_each(|byte| *byte = b'*');
            from = end;
        }
    }
    hidden
}

/// Whether a header of this name holds a credential.
#[must_use]
pub fn holds_a_credential(name: &str) -> bool {
    let ends_in = |word: &str, end: &str| {
        let rest = word.len().checked_sub(end.len()).and_then(|from| word.get(from..));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(end))
    };
    name.split(['-', '_']).any(|word| {
        OF_A_CREDENTIAL.iter().any(|known| known.eq_ignore_ascii_case(word))
            || ENDS_OF_A_CREDENTIAL.iter().any(|end| ends_in(word, end))
    })
}

/// Where the secret occurs next, from `from` on.
fn place_of(secret: &[u8], words: &[u8], from: usize) -> Option<Range<usize>> {
    let (first, rest) = (*secret.first()?, words.get(from..)?);
    memchr2_iter(first, b'\\', rest).find_map(|at| {
        let length = length_of(secret, rest.get(at..)?)?;
        Some(from + at..from + at + length)
    })
}

/// The length of the secret as written at the beginning of `words`, plain or escaped; `None` if it is not there.
fn length_of(secret: &[u8], words: &[u8]) -> Option<usize> {
    let mut rest = words;
    for byte in secret {
        rest = match rest {
            [b'\\', b'u', a, b, c, d, rest @ ..] if hexadecimal([*a, *b, *c, *d]) == Some(u32::from(*byte)) => rest,
            [b'\\', escaped @ (b'"' | b'\\' | b'/'), rest @ ..] if escaped == byte => rest,
            [plain, rest @ ..] if plain == byte => rest,
            [..] => return None,
        };
    }
    Some(words.len() - rest.len())
}

fn hexadecimal(digits: [u8; 4]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::super::base_url::BaseUrl;
    use super::super::endpoint::{AuthStyle, Home, VerifyOverrides};
    use super::super::secret::Secret;
    use super::super::testing::endpoint;
    use super::*;

    fn with_key(key: &str) -> Endpoint {
        Endpoint { auth: Auth::Own { style: AuthStyle::Bearer, key: Secret::new(key) }, ..endpoint("a", Home::Primary) }
    }

    #[track_caller]
    fn said(endpoint: &Endpoint, words: &str, heard: &str) {
        assert_eq!(endpoint.hidden_in(Bytes::from(words.to_owned())), heard, "{words}");
    }

    #[test]
    fn a_credential_is_hidden_wherever_it_stands() {
        let words = "sk-12345 and sk-12345, sk-1234";
        said(&with_key("sk-12345"), words, "******** and ********, sk-1234");
        said(&with_key("sk-1234"), words, words);
        said(&with_key("sk-123456"), words, words);
        for auth in [Auth::Passthrough, Auth::Missing] {
            said(&Endpoint { auth, ..endpoint("a", Home::Primary) }, words, words);
        }
    }

    #[test]
    fn so_it_is_as_json_writes_it() {
        let endpoint = with_key(r#"sk/12"\5"#);
        for (words, heard) in [
            (r#""sk/12\"\\5""#, r#""**********""#),
            (r#""sk\/12\"\\5""#, r#""***********""#),
            (r#""\u0073k\u002F12\u0022\u005c5""#, &format!("\"{}\"", "*".repeat(28))),
            (r#"\\sk\/12"\5 \"#, r"\\********* \"),
        ] {
            said(&endpoint, words, heard);
        }
        for words in [r#"sk/12"\6"#, r#"\u0073k/12"\u00"#, r#"\u0074k/12"\5"#, r"\u", r"\"] {
            said(&endpoint, words, words);
        }
    }

    #[test]
    fn so_are_a_password_and_headers_that_hold_a_credential() {
        let header = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let endpoint = Endpoint {
            base_url: BaseUrl::parse("http://user:pass%2Fword@upstream").unwrap(),
            headers: vec![
                header("X-Relay-Token", "Bearer relay-token"),
                header("cookie", "session=first-secret; other=second-secret"),
                header("anthropic-beta", "context-1m"),
                header("x-portkey-provider", "anthropic"),
                header("x-max-tokens", "anthropic"),
                header("x-author", "anthropic"),
            ],
            verify: VerifyOverrides {
                headers: vec![header("x-api-key", "of-the-verifier")],
                ..VerifyOverrides::default()
            },
            auth: Auth::Missing,
            ..endpoint("a", Home::Primary)
        };
        said(&endpoint, "pass/word or dXNlcjpwYXNzL3dvcmQ=", "********* or ********************");
        said(&endpoint, "relay-token of Bearer, context-1m, anthropic", "*********** of Bearer, context-1m, anthropic");
        said(&endpoint, "session=first-secret, second-secret", "session=************, *************");
        said(&endpoint, "of-the-verifier", "***************");
        for (name, value, secret) in [
            ("authorization", "Token token=first-of-two, id=7", "first-of-two"),
            ("x-api-key", "longer-than-its-value=ab", "longer-than-its-value"),
            ("authorization", "ab12=cd34,ef56gh", "ab12=cd34,ef56gh"),
            ("x-authtoken", "all-of-it", "all-of-it"),
            ("X-JWT-Assertion", "Bearer all-of-it", "all-of-it"),
        ] {
            let endpoint = Endpoint { headers: vec![header(name, value)], ..endpoint.clone() };
            said(&endpoint, secret, &"*".repeat(secret.len()));
        }
        let token = BaseUrl::parse("http://sk-token@upstream").unwrap();
        said(&Endpoint { base_url: token, ..endpoint }, "sk-token", "********");
    }
}
