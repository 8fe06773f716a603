//! The news that operators are sent while they look elsewhere, and the form in which it is posted.

use serde_json::json;

use super::endpoint::Protocol;
use super::events::{Event, EventKind};
use super::ids::ProfileId;
use super::time::Moment;

/// The longest detail of a failed reload that is posted, in bytes.
const LONGEST_DETAIL: usize = 4096;

/// What a notice may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// An event that is in the event log too.
    Event(EventKind),
    /// A profile has lost its last usable endpoint of a protocol.
    NothingUsable,
    /// New settings were rejected.
    ReloadFailed,
}

impl NoticeKind {
    /// All kinds, in the order in which they are shown to people.
    pub fn all() -> impl Iterator<Item = Self> {
        let own = [Self::NothingUsable, Self::ReloadFailed];
        EventKind::ALL.into_iter().map(Self::Event).chain(own)
    }

    /// The word for it in the settings and in posted notices.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.as_str(),
            Self::NothingUsable => "nothing_usable",
            Self::ReloadFailed => "reload_failed",
        }
    }

    /// The kind that this word stands for.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::all().find(|kind| kind.as_str() == word)
    }
}

/// One piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An event of the event log.
    Event(Event),
    /// A profile has lost its last usable endpoint of a protocol.
    NothingUsable {
        /// When.
        at: Moment,
        /// Which profile.
        profile: ProfileId,
        /// The protocol that no usable endpoint speaks any more.
        protocol: Protocol,
        /// How many endpoints of this protocol it has.
        endpoints: usize,
        /// How many of them are in the failure queue; the others are switched off.
        isolated: usize,
    },
    /// New settings were rejected; the old ones stay in force.
    ReloadFailed {
        /// When.
        at: Moment,
        /// What is wrong with them.
        detail: String,
    },
}

/// What a posted notice carries besides its news.
#[derive(Clone, Copy, Debug)]
pub struct Letterhead<'a> {
    /// Its id: the same for each try to deliver it, and never reused.
    pub id: &'a str,
    /// When it happened, RFC 3339.
    pub at: &'a str,
    /// How many notices before it could not be delivered.
    pub lost: u64,
}

impl Notice {
    /// The notice of a failed reload. `detail` must hold no secret; if it is long, only its beginning is kept.
    #[must_use]
    pub fn reload_failed(at: Moment, detail: &str) -> Self {
        let end = detail.floor_char_boundary(LONGEST_DETAIL);
        Self::ReloadFailed { at, detail: detail.get(..end).unwrap_or_default().to_owned() }
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> NoticeKind {
        match self {
            Self::Event(event) => NoticeKind::Event(event.kind),
            Self::NothingUsable { .. } => NoticeKind::NothingUsable,
            Self::ReloadFailed { .. } => NoticeKind::ReloadFailed,
        }
    }

    /// When it happened.
    #[must_use]
    pub const fn at(&self) -> Moment {
        match self {
            Self::Event(Event { at, .. }) | Self::NothingUsable { at, .. } | Self::ReloadFailed { at, .. } => *at,
        }
    }

    /// The body that is posted. The same notice with the same letterhead gives the same bytes. Fields that mean nothing for the
    /// kind are null.
    #[must_use]
    pub fn body(&self, letterhead: Letterhead<'_>) -> String {
        let Letterhead { id, at, lost } = letterhead;
        let mut body = json!({
            "id": id,
            "at": at,
            "event": self.kind().as_str(),
            "text": self.text(lost),
            "gateway": { "version": env!("CARGO_PKG_VERSION") },
            "lost": lost,
            "profile": null, "protocol": null, "endpoints": null, "isolated": null,
            "endpoint": null, "model": null, "epoch": null, "reason": null,
            "detail": null, "by": null, "ms": null, "score": null,
        });
        match self {
            Self::Event(event) => {
                body["endpoint"] = json!(event.endpoint);
                body["model"] = json!(event.model);
                body["epoch"] = json!(event.epoch);
                body["reason"] = json!(event.reason);
                body["detail"] = json!(event.detail);
                body["by"] = json!(event.by.map(|address| format!("admin {address}")));
                body["ms"] = json!(event.ms);
                body["score"] = json!(event.score);
            }
            Self::NothingUsable { profile, protocol, endpoints, isolated, .. } => {
                body["profile"] = json!(profile);
                body["protocol"] = json!(protocol);
                body["endpoints"] = json!(endpoints);
                body["isolated"] = json!(isolated);
            }
            Self::ReloadFailed { detail, .. } => body["detail"] = json!(detail),
        }
        body.to_string()
    }

    /// A sentence for people. Chats show this field, and take `<` and `&` for markup: these are escaped, so that no upstream can
    /// alert a whole channel.
    fn text(&self, lost: u64) -> String {
        let text = match self {
            Self::Event(event) => sentence(event),
            Self::NothingUsable { profile, protocol, endpoints, isolated, .. } => {
                let (disabled, protocol) = (endpoints.saturating_sub(*isolated), protocol.as_str());
                format!(
                    "profile {profile} has no usable endpoint: {isolated} isolated, {disabled} disabled; protocol {protocol}"
                )
            }
            Self::ReloadFailed { detail, .. } => format!("a reload has failed and changed nothing: {detail}"),
        };
        let lost = match lost {
            0 => String::new(),
            1 => " (one notice before this was lost)".to_owned(),
            lost => format!(" ({lost} notices before this were lost)"),
        };
        format!("qcc-gateway: {}{lost}", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
    }
}

/// Words an event as a sentence.
fn sentence(event: &Event) -> String {
    let who = event.endpoint.as_ref().map_or_else(|| "the gateway".to_owned(), |id| format!("endpoint {id}"));
    let reason = event.reason.map_or("", |reason| reason.as_str());
    let detail = event.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let ms = event.ms.unwrap_or_default();
    let of_model = event.model.as_deref().map(|model| format!(" for {model}")).unwrap_or_default();
    let what = match event.kind {
        EventKind::Isolated => format!("is isolated ({reason}){detail}"),
        EventKind::Recovered => format!("has recovered, verified in {ms} ms"),
        EventKind::Verified => judged("verification", event.detail.as_deref()),
        EventKind::SecondOpinion => judged("second opinion", event.detail.as_deref()),
        EventKind::Cooldown => format!("rests for {} s{of_model}{detail}", ms.div_ceil(1000)),
        EventKind::Exhausted => format!("is exhausted for {} s{of_model}{detail}", ms.div_ceil(1000)),
        EventKind::Disabled => "was disabled".to_owned(),
        EventKind::Enabled => "was enabled".to_owned(),
        EventKind::Added => "was added".to_owned(),
        EventKind::Changed => "was changed".to_owned(),
        EventKind::Removed => "was removed".to_owned(),
        EventKind::Reload => match event.detail.as_deref().and_then(|detail| detail.strip_prefix("failed: ")) {
            Some(faults) => format!("has kept its settings, because a reload failed: {faults}"),
            None => format!("has read its settings anew{detail}"),
        },
    };
    format!("{who} {what}")
}

/// The result of a conversation with the verifier, in words.
fn judged(what: &str, detail: Option<&str>) -> String {
    match detail {
        Some(Event::PASSED) => format!("passed its {what}"),
        Some(error) => format!("failed its {what}: {error}"),
        None => format!("failed its {what}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::outcome::Reason;
    use crate::domain::testing::{at, id};

    const LETTERHEAD: Letterhead<'_> = Letterhead { id: "a-1", at: "2026-01-01T00:00:00.000Z", lost: 0 };

    fn parsed(notice: &Notice, letterhead: Letterhead<'_>) -> Value {
        serde_json::from_str(&notice.body(letterhead)).unwrap()
    }

    #[test]
    fn every_word_stands_for_one_kind() {
        for kind in NoticeKind::all() {
            assert_eq!(NoticeKind::named(kind.as_str()), Some(kind));
        }
        assert_eq!(NoticeKind::named("isolatd"), None);
    }

    #[test]
    fn an_event_is_posted_with_all_that_the_event_log_has() {
        let mut event = Event::new(EventKind::Isolated, at(1), &id("main"));
        event.reason = Some(Reason::UpstreamStatus);
        event.detail = Some("HTTP 500".to_owned());
        event.by = Some("127.0.0.1".parse().unwrap());
        let expected = json!({
            "id": "a-1", "at": "2026-01-01T00:00:00.000Z", "event": "isolated", "lost": 0,
            "text": "qcc-gateway: endpoint main is isolated (upstream_status): HTTP 500",
            "gateway": { "version": env!("CARGO_PKG_VERSION") },
            "profile": null, "protocol": null, "endpoints": null, "isolated": null,
            "endpoint": "main", "model": null, "epoch": null, "reason": "upstream_status", "detail": "HTTP 500",
            "by": "admin 127.0.0.1", "ms": null, "score": null,
        });
        assert_eq!(parsed(&Notice::Event(event), LETTERHEAD), expected);
    }

    #[test]
    fn an_outage_names_its_profile_and_a_failed_reload_its_faults() {
        let outage = Notice::NothingUsable {
            at: at(1),
            profile: ProfileId::default(),
            protocol: Protocol::OpenAi,
            endpoints: 3,
            isolated: 2,
        };
        let body = parsed(&outage, Letterhead { lost: 4, ..LETTERHEAD });
        assert_eq!((&body["event"], &body["profile"]), (&json!("nothing_usable"), &json!("default")));
        assert_eq!(body["protocol"], "openai");
        assert_eq!((&body["endpoints"], &body["isolated"], &body["lost"]), (&json!(3), &json!(2), &json!(4)));
        assert_eq!(
            body["text"],
            "qcc-gateway: profile default has no usable endpoint: 2 isolated, 1 disabled; protocol openai (4 notices before this were lost)"
        );
        let body = parsed(&Notice::reload_failed(at(1), "server.port: found true"), LETTERHEAD);
        assert_eq!((&body["event"], &body["detail"]), (&json!("reload_failed"), &json!("server.port: found true")));
    }

    /// Found by an operator: an endpoint that had failed was said to be verified.
    #[test]
    fn a_verification_is_told_with_what_came_of_it() {
        for (kind, detail, text) in [
            (EventKind::Verified, "passed", "passed its verification"),
            (EventKind::Verified, "HTTP 500", "failed its verification: HTTP 500"),
            (EventKind::SecondOpinion, "passed", "passed its second opinion"),
            (EventKind::SecondOpinion, "the code is missing", "failed its second opinion: the code is missing"),
        ] {
            let mut event = Event::new(kind, at(1), &id("main"));
            event.detail = Some(detail.to_owned());
            let body = parsed(&Notice::Event(event), LETTERHEAD);
            assert_eq!((&body["event"], &body["detail"]), (&json!(kind.as_str()), &json!(detail)));
            assert_eq!(body["text"], format!("qcc-gateway: endpoint main {text}"));
        }
    }

    #[test]
    fn a_reload_is_told_with_what_came_of_it() {
        for (detail, text) in [
            ("1 changed", "has read its settings anew: 1 changed"),
            (
                "failed: 1 fault in the settings",
                "has kept its settings, because a reload failed: 1 fault in the settings",
            ),
        ] {
            let event = Event {
                endpoint: None,
                detail: Some(detail.to_owned()),
                ..Event::new(EventKind::Reload, at(1), &id("a"))
            };
            assert_eq!(parsed(&Notice::Event(event), LETTERHEAD)["text"], format!("qcc-gateway: the gateway {text}"));
        }
    }

    #[test]
    fn of_a_long_list_of_faults_the_beginning_is_kept() {
        let Notice::ReloadFailed { detail, .. } = Notice::reload_failed(at(1), &"é".repeat(LONGEST_DETAIL)) else {
            panic!("it is one");
        };
        assert_eq!(detail.len(), LONGEST_DETAIL);
    }

    #[test]
    fn no_upstream_can_write_markup_into_a_chat() {
        let mut event = Event::new(EventKind::Isolated, at(1), &id("main"));
        event.detail = Some("<!channel> & co".to_owned());
        let body = parsed(&Notice::Event(event), LETTERHEAD);
        assert!(body["text"].as_str().unwrap().ends_with("&lt;!channel&gt; &amp; co"), "{body}");
        assert_eq!(body["detail"], "<!channel> & co", "what machines read is left as it is");
    }
}
