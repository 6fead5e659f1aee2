//! What a web site shows its visitors during a maintenance: JSON for scripts, a fragment of HTML to be put into a page.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::access::may_see_banner;
use super::api::{Name, Tokened};
use super::problem::Problem;
use super::server::Peer;
use crate::gate::{GateView, Mode};

/// The mode of a database, as a visitor may know it: not who closed it.
#[derive(Serialize, ToSchema)]
pub struct Banner<'a> {
    /// As it was asked for.
    database: &'a str,
    /// `read_write`, `draining`, `read_only` or `offline`.
    mode: &'static str,
    /// Whether there is anything to show.
    maintenance: bool,
    /// What the operator says.
    message: Option<&'a str>,
    /// When writes are expected back (RFC 3339).
    until: Option<String>,
    /// Grows with each change of the mode.
    epoch: u64,
}

impl<'a> Banner<'a> {
    fn of(view: &'a GateView) -> Self {
        let maintenance = view.state.mode != Mode::ReadWrite;
        let terms = view.in_force().filter(|_| maintenance);
        Self {
            database: &view.database,
            mode: view.state.mode.as_str(),
            maintenance,
            message: terms.and_then(|terms| terms.message.as_deref()),
            until: terms.and_then(|terms| terms.until).map(|until| until.to_string()),
            epoch: view.state.epoch.0,
        }
    }

    /// Nothing while there is nothing to show, so that it can always be put in.
    fn html(&self) -> String {
        if !self.maintenance {
            return String::new();
        }
        let words = match (self.message, self.mode) {
            (Some(message), _) => escaped(message),
            (None, "offline") => "This service is being maintained.".to_owned(),
            (None, _) => "This service is being maintained: nothing can be changed for now.".to_owned(),
        };
        let until = self.until.as_ref().map(|until| {
            let until = escaped(until);
            format!(" <time datetime=\"{until}\">{until}</time>")
        });
        format!(
            "<div class=\"pgsluice-banner\" role=\"status\" data-mode=\"{}\"><span>{words}</span>{}</div>\n",
            self.mode,
            until.unwrap_or_default()
        )
    }
}

/// Text in HTML, in an attribute too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What a web site shows its visitors
///
/// JSON, or a fragment of HTML to be put into a page, which is empty while there is nothing to show.
#[utoipa::path(
    get, path = "/v1/databases/{database}/banner", operation_id = "banner", tag = "public",
    params(
        ("database" = String, Path, description = "A database, as clients name it"),
        ("format" = Option<String>, Query, description = "`json` or `html`; without it, what Accept asks for"),
    ),
    responses(
        (status = 200, description = "What to show", content((Banner = "application/json"), (String = "text/html"))),
        (status = 404, description = "There is no such database", body = Problem, content_type = "application/problem+json"),
        Tokened,
    ),
    security((), ("token" = [])),
)]
pub async fn get(
    State(api): State<Arc<Api>>,
    Extension(peer): Extension<Peer>,
    Name(name): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let setup = api.proxy.setup.load();
    let config = &setup.config.http;
    let mut response = match may_see_banner(&api, &peer, &headers) {
        // Names are not made up by asking for them: only a gate that is there already.
        Ok(()) => match api.proxy.gates.get(&name) {
            Some(gate) => {
                answer(&Banner::of(&gate.view().under(&name.as_str().into())), wants_html(query.as_deref(), &headers))
            }
            None => Problem::no_database(&name).into_response(),
        },
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept, Authorization"));
    if let Some(origin) = HeaderValue::from_str(&config.banner_origin).ok().filter(|origin| !origin.is_empty()) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// `?format=html` or `?format=json`; without it, what the request accepts first.
fn wants_html(query: Option<&str>, headers: &HeaderMap) -> bool {
    let format = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("format=")));
    match format {
        Some(format) => format == "html",
        None => {
            let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let at = |kind: &str| accept.find(kind).unwrap_or(usize::MAX);
            at("text/html") < at("application/json")
        }
    }
}

fn answer(banner: &Banner<'_>, html: bool) -> Response {
    if html {
        return ([(CONTENT_TYPE, "text/html; charset=utf-8")], banner.html()).into_response();
    }
    json(StatusCode::OK, banner)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_be_markup() {
        let banner = Banner {
            database: "app",
            mode: "read_only",
            maintenance: true,
            message: Some("<script>\"'&"),
            until: Some("2026-12-01T14:00:00Z".into()),
            epoch: 1,
        };
        assert_eq!(
            banner.html(),
            "<div class=\"pgsluice-banner\" role=\"status\" data-mode=\"read_only\">\
             <span>&lt;script&gt;&quot;&#39;&amp;</span> \
             <time datetime=\"2026-12-01T14:00:00Z\">2026-12-01T14:00:00Z</time></div>\n"
        );
        assert_eq!(Banner { maintenance: false, ..banner }.html(), "");
    }

    #[test]
    fn the_form_is_chosen() {
        let accept = |text: &str| HeaderMap::from_iter([(ACCEPT, text.parse().unwrap())]);
        assert!(wants_html(Some("x=1&format=html"), &HeaderMap::new()));
        assert!(!wants_html(Some("format=json"), &accept("text/html")));
        assert!(wants_html(None, &accept("text/html,application/xhtml+xml,*/*;q=0.8")));
        assert!(!wants_html(None, &accept("application/json, text/html")));
        assert!(!wants_html(None, &accept("*/*")) && !wants_html(None, &HeaderMap::new()));
    }
}
