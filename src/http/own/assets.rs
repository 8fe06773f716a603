//! The dashboard's files, as they stand in `dashboard/`: compiled in, so that there is nothing to install and nothing to build.

use std::fmt::Write;

use actix_http::Request;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETag, EntityTag, HeaderName, IfNoneMatch, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::{HttpMessage, HttpResponse};
use sha2::{Digest, Sha256};

/// A file that a page of the dashboard loads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal: $kind:ident,)*) => {
        &[$(Asset { name: $name, kind: $kind, text: include_str!(concat!("dashboard/", $name)) },)*]
    };
}

const ASSETS: &[Asset] = assets! {
    "acts.js": SCRIPT,
    "api.js": SCRIPT,
    "board.js": SCRIPT,
    "board.css": STYLE,
    "card.js": SCRIPT,
    "chart.js": SCRIPT,
    "chinese.js": SCRIPT,
    "clients.js": SCRIPT,
    "dom.js": SCRIPT,
    "english.js": SCRIPT,
    "format.js": SCRIPT,
    "icon.svg": IMAGE,
    "live.js": SCRIPT,
    "login.js": SCRIPT,
    "logs.js": SCRIPT,
    "main.js": SCRIPT,
    "panels.css": STYLE,
    "rests.js": SCRIPT,
    "style.css": STYLE,
    "summary.js": SCRIPT,
    "timeline.js": SCRIPT,
    "words.js": SCRIPT,
};

/// Other sites' pages have no use for these files.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl Asset {
    /// The file of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ASSETS.iter().find(|asset| asset.name == name)
    }

    /// The file's text, or the answer that the browser's copy is still good. Browsers ask each time, so that after an
    /// upgrade no page mixes files of two versions.
    pub(super) fn answer(&self, request: &Request) -> HttpResponse {
        let tag = self.tag();
        let is_known = match request.get_header::<IfNoneMatch>() {
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(&tag)),
            None => false,
        };
        let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        response
            .insert_header(ETag(tag))
            .insert_header((CACHE_CONTROL, "no-cache"))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((RESOURCE_POLICY, "same-origin"));
        if is_known {
            return response.finish();
        }
        response.insert_header((CONTENT_TYPE, self.kind)).body(self.text)
    }

    fn tag(&self) -> EntityTag {
        let digest = Sha256::digest(self.text);
        let hex = digest.iter().take(8).fold(String::new(), |mut hex, byte| {
            // Writing to a string can't fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        EntityTag::new_strong(hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_dashboard_is_served_or_a_page() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/own/dashboard");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension != "html"))
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        let mut served: Vec<&str> = ASSETS.iter().map(|asset| asset.name).collect();
        served.sort_unstable();
        assert_eq!(files, served);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_is_taken_for_markup() {
        for Asset { name, text, .. } in ASSETS {
            for banned in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"] {
                assert!(!text.contains(banned), "{name} has {banned}");
            }
            let addresses = text.matches("http://").count();
            let namespaces = text.matches("http://www.w3.org/").count();
            assert_eq!(addresses, namespaces, "{name} names another origin");
        }
    }
}
