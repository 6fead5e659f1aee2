//! The status page: one file of HTML, one of CSS, three of JavaScript, all of them in the program. It has nothing but what the API
//! tells, and works without any other network.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Api;
use super::problem::Problem;

/// Nothing from elsewhere, nothing that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its parts.
pub fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/", get(root))
        .route("/status", get(page))
        .route("/status/page.css", get(async || text("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/status/page.js", get(async || text("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/status/charts.js", get(async || text("text/javascript; charset=utf-8", include_str!("charts.js"))))
        .route("/status/moves.js", get(async || text("text/javascript; charset=utf-8", include_str!("moves.js"))))
        .route("/status/icon.svg", get(async || text("image/svg+xml", include_str!("icon.svg"))))
}

/// A browser gets the page; to a program, the root is nothing.
async fn root(headers: HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        return page().await;
    }
    Problem::not_found("there is nothing here")
        .with_hint("The status page is at /status, the API at /v1.")
        .into_response()
}

async fn page() -> Response {
    text("text/html; charset=utf-8", include_str!("page.html"))
}

fn text(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)], text).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_small_and_needs_nothing_from_elsewhere() {
        let files = [
            include_str!("page.html"),
            include_str!("page.css"),
            include_str!("page.js"),
            include_str!("charts.js"),
            include_str!("moves.js"),
        ];
        let size: usize = files.iter().map(|file| file.len()).sum();
        assert!(size < 150_000, "{size}");
        for file in files {
            let elsewhere = file.matches("://").count() - file.matches("http://www.w3.org/").count();
            assert_eq!(elsewhere, 0, "an address of another site");
            assert!(!file.contains("style=\"") && !file.contains("onclick="), "what the policy forbids");
            assert!(!file.contains("innerHTML"), "text of clients must not become markup");
        }
    }
}
