//! The API: a file for each resource. All of it is JSON, below `/v1`.
//!
//! [`asking`] reads what requests bring, [`databases`] tells of modes and drains, [`maintenance`] changes them, [`beforehand`]
//! tells what a maintenance would meet, [`moving`] has another server be the primary or be used, [`reroute`] leads clients to another cluster,
//! [`operations`] follows what takes long, [`lists`] are the console's tables, [`events`]
//! what has happened, [`status`] all of it at a glance for the status page.

mod asking;
mod beforehand;
mod databases;
mod events;
mod lists;
mod maintenance;
mod moving;
mod operations;
mod reroute;
mod status;
mod views;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Reader, Role};
use super::{Api, banner, health, metrics};

pub use asking::{Asked, Name};
pub use views::Tokened;

#[derive(OpenApi)]
#[openapi(
    info(title = "pgsluice", description = "Maintenance of PostgreSQL databases behind pgsluice: look, close, open."),
    tags(
        (name = "public", description = "For everybody: health, and the banner"),
        (name = "databases", description = "Modes, drains, and what is kept out"),
        (name = "maintenance", description = "The commands of the console"),
        (name = "operations", description = "Commands on their way"),
        (name = "process", description = "Pools, clients, servers, events"),
    ),
    modifiers(&Tokens),
    security(("token" = [])),
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// All routes, each with its place in the document.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(document))
        .routes(routes!(banner::get))
        .routes(routes!(metrics::get))
        .routes(routes!(session))
        .routes(routes!(databases::list))
        .routes(routes!(databases::get))
        .routes(routes!(databases::kept_out))
        .routes(routes!(maintenance::look, maintenance::on, maintenance::off))
        .routes(routes!(maintenance::offline, maintenance::online))
        .routes(routes!(reroute::look, reroute::to, reroute::back))
        .routes(routes!(moving::switchover))
        .routes(routes!(moving::activate))
        .routes(routes!(moving::moves))
        .routes(routes!(moving::progress::get))
        .routes(routes!(moving::migrating::migrate))
        .routes(routes!(moving::migrating::migrations))
        .routes(routes!(beforehand::check))
        .routes(routes!(beforehand::rehearsal, beforehand::rehearse, beforehand::end_rehearsal))
        .routes(routes!(beforehand::announce))
        .routes(routes!(operations::list))
        .routes(routes!(operations::get, operations::cancel))
        .routes(routes!(lists::pools))
        .routes(routes!(lists::clients))
        .routes(routes!(lists::servers))
        .routes(routes!(lists::upstreams))
        .routes(routes!(lists::fleet))
        .routes(routes!(events::list))
        .routes(routes!(status::get))
}

/// This document
#[utoipa::path(get, path = "/openapi.json", operation_id = "document", tag = "public", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn document(State(api): State<Arc<Api>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], api.document.clone())
}

/// Who asks.
#[derive(Serialize, ToSchema)]
struct Session {
    /// The name of the token or certificate.
    user: String,
    role: Role,
    version: &'static str,
}

/// Who asks, and what they may
#[utoipa::path(get, path = "/v1/session", operation_id = "session", tag = "process", responses(
    (status = 200, description = "The token or certificate is known", body = Session),
    views::Refused,
))]
async fn session(Reader(identity): Reader) -> impl IntoResponse {
    axum::Json(Session { user: identity.who.user, role: identity.role, version: env!("CARGO_PKG_VERSION") })
}
