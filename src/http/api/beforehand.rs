//! `/v1/databases/NAME/check`, `/rehearsal` and `/announcement`: what a maintenance would meet, and who is told of it beforehand.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::asking::{Asked, Given, Name, Paging};
use super::maintenance::Request;
use super::views::{Commanded, Page, Refused, object, page_schema};
use crate::admin::commands;
use crate::admin::commands::Caller;
use crate::admin::language::command::{Command, Show};
use crate::admin::language::parser::{announcement, rehearsal_time};
use crate::http::Api;
use crate::http::access::Reader;
use crate::http::problem::Problem;

/// MAINTENANCE CHECK
///
/// What would be in the way of a maintenance now. Nothing is changed by it.
#[utoipa::path(
    post,
    path = "/v1/databases/{database}/check",
    operation_id = "check",
    tag = "maintenance",
    params(Request),
    responses(Commanded, Refused)
)]
pub async fn check(request: Request) -> Result<Response, Problem> {
    let command = Command::Check(request.target());
    request.give(command).await
}

/// A warning to clients.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// Without NUL. Empty: takes back what has not been told yet.
    #[schema(max_length = 1024, pattern = r"^[^\x00]*$")]
    text: String,
}

/// MAINTENANCE ANNOUNCE
///
/// A warning to every client that is connected.
#[utoipa::path(post, path = "/v1/databases/{database}/announcement", operation_id = "announce", tag = "maintenance",
    params(Request),
    request_body = Announcement, responses(Commanded, Refused))]
pub async fn announce(request: Request, Given(given): Given<Option<Announcement>>) -> Result<Response, Problem> {
    let Some(Announcement { text }) = given else { return Err(Problem::bad_request("the body has no text")) };
    announcement(&text)?;
    let command = Command::Announce(request.target(), text);
    request.give(command).await
}

/// How long to rehearse.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// A time of at most 7 days, such as `10min`.
    #[serde(rename = "for")]
    #[schema(pattern = r"^[1-9][0-9]{0,3}(s|min)$")]
    lasts: String,
}

/// MAINTENANCE REHEARSE
///
/// Counts for a while what would be refused in a maintenance.
#[utoipa::path(put, path = "/v1/databases/{database}/rehearsal", operation_id = "rehearse", tag = "maintenance",
    params(Request),
    request_body = Rehearsal, responses(Commanded, Refused))]
pub async fn rehearse(request: Request, Given(rehearsal): Given<Option<Rehearsal>>) -> Result<Response, Problem> {
    let Some(Rehearsal { lasts }) = rehearsal else {
        return Err(Problem::bad_request("the body does not say for how long"));
    };
    let lasts = rehearsal_time(&lasts)?;
    let command = Command::Rehearse(request.target(), lasts);
    request.give(command).await
}

/// MAINTENANCE REHEARSE … STOP
///
/// Ends a rehearsal. What it has counted can still be read.
#[utoipa::path(
    delete,
    path = "/v1/databases/{database}/rehearsal",
    operation_id = "end_rehearsal",
    tag = "maintenance",
    params(Request),
    responses(Commanded, Refused)
)]
pub async fn end_rehearsal(request: Request) -> Result<Response, Problem> {
    let command = Command::Rehearse(request.target(), None);
    request.give(command).await
}

/// Rows of SHOW REHEARSAL.
pub struct RehearsalRow;

impl utoipa::PartialSchema for RehearsalRow {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        page_schema(commands::columns_alone(&Command::Show(Show::Rehearsal)).unwrap_or_default())
    }
}

impl ToSchema for RehearsalRow {}

/// What a rehearsal has counted
#[utoipa::path(get, path = "/v1/databases/{database}/rehearsal", operation_id = "rehearsal", tag = "maintenance",
    params(("database" = String, Path, description = "A database, as clients name it, or `*` for all"), Paging),
    responses((status = 200, description = "Rows of SHOW REHEARSAL", body = RehearsalRow), super::views::Missing, Refused))]
pub async fn rehearsal(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    name: Name,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<Map<String, Value>>>, Problem> {
    let part = paging.read()?;
    let names = match api.proxy.gates.get(&name.0) {
        _ if name.0 == "*" => None,
        None => return Err(Problem::no_database(&name.0)),
        Some(gate) => Some(gate.names()),
    };
    let (caller, _) = Caller::new(api.proxy.clone(), identity.who);
    let table = commands::run(&caller, &Command::Show(Show::Rehearsal)).await?;
    let Some(table) = table else { return Err(Problem::not_found("there is no such list")) };
    let all: Vec<_> = table.rows.iter().map(|row| object(table.columns, row)).collect();
    let of = |row: &&Map<String, Value>| {
        names.as_ref().is_none_or(|names| names.iter().any(|name| row.get("database") == Some(&Value::from(&**name))))
    };
    let all: Vec<_> = all.iter().filter(of).cloned().collect();
    let total = all.len();
    let items = all.into_iter().skip(part.0).take(part.1).collect();
    let path = format!("/v1/databases/{}/rehearsal", super::views::percent_encoded(&name.0));
    Ok(Json(Page::new(items, total, part, &path, &[])))
}
