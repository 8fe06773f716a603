//! The forms in which one secret may be given: itself, a variable's name, a file, a digest.

use std::path::Path;

use config::Value;

use super::fault::quoted;
use super::given::Given;
use super::layers::origin_of;
use super::reading::Table;
use crate::domain::client::KeyDigest;
use crate::domain::secret::Secret;

/// The form in which a key gives a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The secret itself.
    Plain,
    /// The name of a variable that holds it.
    Variable,
    /// A file that holds it.
    File,
    /// Its SHA-256.
    Digest,
    /// Several digests, any of which will do.
    Digests,
}

/// The keys of one secret, with their forms.
pub(super) struct Forms(&'static [(&'static str, Form)]);

pub(super) const API_KEY: Forms =
    Forms(&[("api_key", Form::Plain), ("api_key_env", Form::Variable), ("api_key_file", Form::File)]);
pub(super) const CLIENT_KEY: Forms = Forms(&[
    ("key", Form::Plain),
    ("key_env", Form::Variable),
    ("key_file", Form::File),
    ("keys_sha256", Form::Digests),
]);
pub(super) const ADMIN_TOKEN: Forms = Forms(&[
    ("token", Form::Plain),
    ("token_env", Form::Variable),
    ("token_file", Form::File),
    ("token_sha256", Form::Digest),
]);
pub(super) const READ_TOKEN: Forms = Forms(&[
    ("read_token", Form::Plain),
    ("read_token_env", Form::Variable),
    ("read_token_file", Form::File),
    ("read_token_sha256", Form::Digest),
]);
pub(super) const WEBHOOK_URL: Forms = Forms(&[("url", Form::Plain), ("url_env", Form::Variable)]);
pub(super) const WEBHOOK_SECRET: Forms = Forms(&[("secret_env", Form::Variable)]);

impl Forms {
    /// The keys' names, for a fault.
    pub(super) fn names(&self) -> String {
        self.0.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ")
    }
}

/// What a secret that can't be read means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unset {
    /// A variable that is unset or empty, and an unreadable file, are faults.
    Fault,
    /// A variable that is unset or empty, or whose name is empty, means that there is none. An unreadable file is a fault.
    None,
    /// Neither matters: the secret is not in use.
    Ignored,
}

/// How one secret is read.
#[derive(Clone, Copy)]
struct Terms<'a> {
    unset: Unset,
    kind: Option<&'a Kind>,
}

/// What a secret must be, in addition to a text that fits a header.
pub(super) struct Kind {
    /// The name of the kind, in the fault for a secret that is not one.
    pub(super) name: &'static str,
    pub(super) wanted: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

/// What the forms of one secret amount to.
pub(super) enum Credential {
    /// None is given.
    Absent,
    /// One is given that can't be used; if that matters, a fault says why.
    Unusable,
    /// The secret.
    Text(Secret),
    /// Its digests.
    Digests(Vec<KeyDigest>),
}

/// A form of a secret that a later layer has displaced with the name of a variable that is unset or empty.
pub(super) struct Displaced {
    /// The key of the displaced form, with its table.
    pub(super) key: String,
    /// The key of the later layer.
    pub(super) by: String,
    /// The variable, as far as it may be shown.
    pub(super) variable: String,
}

impl Credential {
    /// The secret itself.
    pub(super) fn secret(self) -> Option<Secret> {
        match self {
            Self::Text(secret) => Some(secret),
            Self::Absent | Self::Unusable | Self::Digests(_) => None,
        }
    }

    /// All digests that admit.
    pub(super) fn digests(self) -> Vec<KeyDigest> {
        match self {
            Self::Text(secret) => vec![KeyDigest::of(secret.expose())],
            Self::Digests(digests) => digests,
            Self::Absent | Self::Unusable => Vec::new(),
        }
    }

    /// The first digest, for a secret that has only one.
    pub(super) fn one_digest(self) -> Option<KeyDigest> {
        self.digests().into_iter().next()
    }
}

impl Table<'_, '_> {
    /// Reads one secret. The form of the latest layer wins; two in one layer are a fault.
    pub(super) fn credential(&mut self, forms: &Forms, unset: Unset) -> Credential {
        self.credential_by(forms, Terms { unset, kind: None })
    }

    /// Reads one secret that must also be of this kind.
    pub(super) fn credential_of_kind(&mut self, forms: &Forms, unset: Unset, kind: &Kind) -> Credential {
        self.credential_by(forms, Terms { unset, kind: Some(kind) })
    }

    fn credential_by(&mut self, forms: &Forms, terms: Terms<'_>) -> Credential {
        let mut given: Vec<(&'static str, Form, Value)> = Vec::new();
        for (key, form) in forms.0 {
            if let Some(value) = self.take(key) {
                given.push((*key, *form, value));
            }
        }
        let rank = |value: &Value| origin_of(value).map_or(0, |origin| origin.rank());
        let highest = given.iter().map(|(_, _, value)| rank(value)).max().unwrap_or_default();
        let displaced = given.extract_if(.., |(_, _, value)| rank(value) < highest).last().map(|(key, ..)| key);
        match given.as_slice() {
            [] => Credential::Absent,
            [(key, form, value)] => {
                let credential = self.resolve(key, *form, value, terms);
                match credential {
                    Credential::Text(_) | Credential::Digests(_) => {
                        let name = Given::new(value).text().filter(|_| *form == Form::Variable);
                        self.record(key, name.map_or_else(|| "set".to_owned(), shown_name));
                    }
                    Credential::Absent => self.note_displaced(displaced, key, value),
                    Credential::Unusable => {}
                }
                credential
            }
            [(first, ..), others @ ..] => {
                let names: Vec<&str> = others.iter().map(|(key, ..)| *key).collect();
                let found = format!("a form of a secret that {} in the same layer gives too", names.join(" and "));
                self.fault(first, found, format!("one of {}", forms.names()));
                Credential::Unusable
            }
        }
    }

    /// If a variable's name means that there is no secret, displacing the other form was hardly intended. An empty name
    /// states that there is to be none.
    fn note_displaced(&mut self, displaced: Option<&'static str>, by: &str, name: &Value) {
        let name = Given::new(name).text().filter(|name| !name.is_empty()).map(shown_name);
        if let (Some(displaced), Some(variable)) = (displaced, name) {
            let (key, by) = (self.key(displaced), self.key(by));
            self.reading.displaced.push(Displaced { key, by, variable });
        }
    }

    fn resolve(&mut self, key: &'static str, form: Form, value: &Value, terms: Terms<'_>) -> Credential {
        let given = Given::new(value);
        if form == Form::Digests {
            return self.digests(key, &given);
        }
        let Some(text) = given.text() else {
            self.fault(key, given.kind(), "a text");
            return Credential::Unusable;
        };
        match form {
            Form::Plain => self.checked(key, text, "it", terms),
            Form::Variable => self.variable(key, text, terms),
            Form::File => match self.reading.seen.read_text(Path::new(text)) {
                Ok(content) => self.checked(key, content.trim_end_matches(['\r', '\n']), "the file", terms),
                Err(_) if terms.unset == Unset::Ignored => Credential::Unusable,
                Err(error) => {
                    self.fault(key, format!("{}: {error}", shown_path(text)), "a readable file that holds the secret");
                    Credential::Unusable
                }
            },
            Form::Digest | Form::Digests => {
                if let Some(digest) = KeyDigest::from_hex(text) {
                    return Credential::Digests(vec![digest]);
                }
                self.fault(key, "a text, not shown, that is no SHA-256", "64 hexadecimal digits");
                Credential::Unusable
            }
        }
    }

    fn digests(&mut self, key: &'static str, given: &Given<'_>) -> Credential {
        let wanted = "a list of SHA-256 sums, each of 64 hexadecimal digits";
        let Some(texts) = given.texts() else {
            self.fault(key, given.kind(), format!("{wanted}{}", given.form_of_list()));
            return Credential::Unusable;
        };
        let digests: Vec<KeyDigest> = texts.iter().filter_map(|text| KeyDigest::from_hex(text)).collect();
        if digests.is_empty() && texts.is_empty() {
            self.fault(key, "an empty list", wanted);
            return Credential::Unusable;
        }
        if digests.len() < texts.len() {
            let count = texts.len() - digests.len();
            self.fault(key, format!("{count} of {} texts, not shown, that are none", texts.len()), wanted);
            return Credential::Unusable;
        }
        Credential::Digests(digests)
    }

    fn variable(&mut self, key: &'static str, name: &str, terms: Terms<'_>) -> Credential {
        if name.is_empty() && terms.unset == Unset::None {
            return Credential::Absent;
        }
        if !is_variable_name(name) {
            let wanted = "the name of a variable (letters, digits and '_'), not the secret itself";
            self.fault(key, "a text, not shown, that is no such name", wanted);
            return Credential::Unusable;
        }
        match self.reading.variables.get(name).filter(|text| !text.is_empty()).cloned() {
            Some(text) => {
                self.reading.variables_taken.insert(name.to_owned());
                let place = named(name).unwrap_or_else(|| "the variable".to_owned());
                self.checked(key, &text, &place, terms)
            }
            None => match terms.unset {
                Unset::None => Credential::Absent,
                Unset::Ignored => Credential::Unusable,
                Unset::Fault => {
                    self.fault(
                        key,
                        format!("{}, which is unset or empty", shown_name(name)),
                        "a variable that holds the secret",
                    );
                    Credential::Unusable
                }
            },
        }
    }

    /// A secret, checked to fit a header (RFC 9110, section 5.5), where all of ours end up.
    fn checked(&mut self, key: &'static str, text: &str, place: &str, terms: Terms<'_>) -> Credential {
        let fits = text.bytes().all(|b| (b' '..=b'~').contains(&b)) && text.trim() == text;
        if text.is_empty() {
            self.fault(key, format!("nothing: {place} is empty"), "a secret that is not empty");
            return Credential::Unusable;
        }
        if !fits {
            let found = format!("{place}, not shown, with characters that no header can hold");
            self.fault(key, found, "visible ASCII characters, without space, line break or the like at either end");
            return Credential::Unusable;
        }
        if let Some(kind) = terms.kind.filter(|kind| !(kind.fits)(text)) {
            self.fault(key, format!("{place}, not shown, that is no {}", kind.name), kind.wanted);
            return Credential::Unusable;
        }
        Credential::Text(Secret::new(text))
    }
}

fn is_variable_name(name: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(is_part) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// A variable's name for a fault, if it looks like one: a key pasted here by mistake may consist of the letters of a
/// name.
fn shown_name(name: &str) -> String {
    named(name).unwrap_or_else(|| "a variable, its name not shown".to_owned())
}

fn named(name: &str) -> Option<String> {
    let looks_like_a_name =
        name.len() <= 64 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    looks_like_a_name.then(|| format!("the variable {name}"))
}

/// A file's path for a fault, if it looks like one: a key may have been pasted here, too. A bare file name can be found
/// by its key's place.
fn shown_path(path: &str) -> String {
    let looks_like_a_path = path.is_empty() || path.starts_with(['/', '.']);
    if looks_like_a_path { quoted(path) } else { "a file, its name not shown".to_owned() }
}
