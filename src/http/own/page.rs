//! The page that a browser gets at the gateway's own routes: the dashboard, or its login. The page itself shows nothing
//! of the state, so anyone may load it; its scripts ask for the state, and get what the viewer may see.

use actix_http::Request;
use actix_web::HttpResponse;
use actix_web::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::super::access::{Denied, Known, recognise};
use super::super::state::Serving;
use super::query_of;

const DASHBOARD: &str = include_str!("dashboard/index.html");
const LOGIN: &str = include_str!("dashboard/login.html");

/// The placeholder in the dashboard for the viewer's role, which its scripts read.
const ROLE: &str = "{role}";

/// The pages may not be framed, load nothing but the gateway's own files, and turn no text into markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The query that asks for a login that is not needed: `/__qcc__/?login`.
const ASKS_FOR_LOGIN: &str = "login";

/// Which page somebody gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Login,
    /// The dashboard, for a viewer in this role.
    Dashboard(&'static str),
}

impl Page {
    /// The page for a viewer. `is_public`: everybody may read; `wants_login`: the login is asked for;
    /// `is_open_to_readers`: a read token would open what nothing else does.
    const fn of(known: Result<Known, Denied>, is_public: bool, wants_login: bool, is_open_to_readers: bool) -> Self {
        match known {
            Ok(Known::Admin) => Self::Dashboard("local"),
            Ok(Known::AdminBySession) => Self::Dashboard("admin"),
            Ok(Known::Reader | Known::ReaderBySession) => Self::Dashboard("reader"),
            Err(Denied::NoToken | Denied::WrongToken) if is_public && !wants_login => Self::Dashboard("guest"),
            Err(Denied::NoToken | Denied::WrongToken) => Self::Login,
            Err(Denied::NotLocal) if is_open_to_readers => Self::Login,
            // What its scripts ask for is refused, with the reason.
            Err(Denied::CrossSite | Denied::ReadOnly | Denied::NotLocal | Denied::Stopping) => {
                Self::Dashboard("stranger")
            }
        }
    }
}

/// The dashboard, or the login if a token is needed and none is shown.
pub(super) async fn page(worker: &Serving<'_>, request: &Request) -> HttpResponse {
    let admin = &worker.config.settings.admin;
    let known = recognise(worker, request).await;
    let wants_login = query_of(request) == ASKS_FOR_LOGIN;
    let body = match Page::of(known, admin.public_stats, wants_login, admin.read_token.is_some()) {
        Page::Login => LOGIN.to_owned(),
        Page::Dashboard(role) => DASHBOARD.replacen(ROLE, role, 1),
    };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // With no referrer at all a browser would send its posts' origin as `null`.
        .insert_header((REFERRER_POLICY, "same-origin"))
        .body(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_what() {
        let token_wanted = Err(Denied::NoToken);
        let elsewhere = Err(Denied::NotLocal);
        for (known, is_public, wants_login, is_open_to_readers, page) in [
            (Ok(Known::Admin), false, true, false, Page::Dashboard("local")),
            (Ok(Known::AdminBySession), false, false, false, Page::Dashboard("admin")),
            (Ok(Known::ReaderBySession), true, true, false, Page::Dashboard("reader")),
            (token_wanted, false, false, true, Page::Login),
            (token_wanted, true, false, true, Page::Dashboard("guest")),
            (token_wanted, true, true, true, Page::Login),
            (elsewhere, false, false, true, Page::Login),
            (elsewhere, false, false, false, Page::Dashboard("stranger")),
        ] {
            assert_eq!(Page::of(known, is_public, wants_login, is_open_to_readers), page, "{known:?}");
        }
    }

    #[test]
    fn the_pages_hold_no_script_or_style_of_their_own() {
        assert_eq!(DASHBOARD.matches(ROLE).count(), 1);
        for page in [DASHBOARD, LOGIN] {
            assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=\"assets/").count());
            for banned in ["<style", " style=", " onclick=", "http://", "https://"] {
                assert!(!page.contains(banned), "{banned}");
            }
        }
    }
}
