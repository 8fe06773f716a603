//! Who asks: client keys.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use crate::domain::client::Client;
use crate::domain::ids::{ClientId, ProfileId};
use crate::domain::refusal::Refusal;

/// Who a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The client; none where everybody is served.
    pub(super) client: Option<ClientId>,
    /// Whose endpoints serve it.
    pub(super) profile: ProfileId,
}

/// The clients that may use the gateway. None at all: everybody may.
#[derive(Clone, Debug)]
pub(super) struct ClientBook {
    clients: Vec<Client>,
}

impl ClientBook {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        Self { clients }
    }

    /// Finds the client by its key, in any of the headers in which clients send one. All keys are compared with all keys,
    /// each in constant time, so that an answer's time tells nothing.
    pub(super) fn identify(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.clients.is_empty() {
            return Ok(Caller { client: None, profile: ProfileId::default() });
        }
        let shown = shown_keys(headers);
        if shown.is_empty() {
            return Err(Refusal::NoClientKey);
        }
        let mut found = None;
        for client in &self.clients {
            for key in &shown {
                let fits = client.keys.iter().fold(false, |fits, digest| fits | digest.matches(key));
                if fits && client.enabled {
                    found = Some(client);
                }
            }
        }
        let client = found.ok_or(Refusal::WrongClientKey)?;
        Ok(Caller { client: Some(client.id.clone()), profile: client.profile.clone() })
    }
}

/// Clients may send more than one credential, of which one is the gateway's.
fn shown_keys(headers: &HeaderMap) -> Vec<&str> {
    let bearer =
        |value: &'_ str| -> bool { value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")) };
    let plain = ["x-qcc-key", "x-api-key"].into_iter().flat_map(|name| headers.get_all(name));
    let mut shown: Vec<&str> = plain.filter_map(|value| value.to_str().ok()).map(str::trim).collect();
    let authorizations = headers.get_all(AUTHORIZATION).filter_map(|value| value.to_str().ok());
    shown.extend(authorizations.filter(|value| bearer(value)).filter_map(|value| value.get(7..)).map(str::trim));
    shown.retain(|key| !key.is_empty());
    shown
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::domain::client::KeyDigest;

    fn client(id: &str, profile: &str, keys: &[&str], enabled: bool) -> Client {
        Client {
            id: ClientId::new(id).unwrap(),
            profile: ProfileId::new(profile).unwrap(),
            team: None,
            keys: keys.iter().map(|key| KeyDigest::of(key)).collect(),
            enabled,
        }
    }

    fn identified(headers: &[(&str, &str)]) -> Result<String, Refusal> {
        let book = ClientBook::new(vec![
            client("alice", "default", &["a-old", "a-new"], true),
            client("bob", "other", &["b"], true),
            client("carol", "default", &["c"], false),
        ]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        book.identify(&map).map(|caller| format!("{}/{}", caller.client.unwrap(), caller.profile))
    }

    #[test]
    fn a_client_is_known_by_any_of_its_keys_in_any_header() {
        for (headers, who) in [
            (vec![("x-api-key", "a-old")], Ok("alice/default")),
            (vec![("x-qcc-key", "a-new")], Ok("alice/default")),
            (vec![("authorization", "Bearer b")], Ok("bob/other")),
            (vec![("authorization", "bearer  b")], Ok("bob/other")),
            (vec![("authorization", "Bearer sk-own"), ("x-qcc-key", "b")], Ok("bob/other")),
            (vec![("authorization", "Basic b")], Err(Refusal::NoClientKey)),
            (vec![("x-api-key", "")], Err(Refusal::NoClientKey)),
            (vec![], Err(Refusal::NoClientKey)),
            (vec![("x-api-key", "nobody")], Err(Refusal::WrongClientKey)),
            (vec![("x-api-key", "c")], Err(Refusal::WrongClientKey)),
        ] {
            assert_eq!(identified(&headers), who.map(str::to_owned), "{headers:?}");
        }
    }

    #[test]
    fn without_clients_everybody_is_served() {
        let caller = ClientBook::new(Vec::new()).identify(&HeaderMap::new()).unwrap();
        assert_eq!(caller, Caller { client: None, profile: ProfileId::default() });
    }
}
