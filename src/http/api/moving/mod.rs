//! `/v1/databases/NAME/switchover`: another server becomes the primary. `/v1/databases/NAME/activate`: another one of several is used.
//! `/v1/moves`: what is under way, and what was; [`progress`] tells of one. [`migrating`] leads a database to another
//! cluster.

pub(super) mod migrating;
pub mod progress;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::admin::commands;
use crate::admin::language::command::{Command, MoveCommand, Show};
use crate::gate::Target;
use crate::http::Api;
use crate::http::access::Reader;
use crate::http::api::asking::{Asked, Given, Paging, flag, given_options};
use crate::http::api::lists::{Filter, Rows, rows};
use crate::http::api::maintenance::Request;
use crate::http::api::views::{Commanded, Refused, page_schema};
use crate::http::problem::Problem;
use crate::proxy::moving::{activate, switchover};

/// Where to, and the options of SWITCHOVER. What is left out, or null, is as usual.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switchover {
    /// The server that is to be the primary, as SHOW UPSTREAMS names it: `10.0.0.2:5432`.
    #[schema(min_length = 1, max_length = 300, pattern = r"^[^\x00-\x1f\x7f]+$")]
    to: String,
    /// Only the checks: nothing is changed.
    #[serde(default)]
    dry_run: Option<bool>,
    /// How long it may take until the target is promoted, such as `30s`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    timeout: Option<String>,
    /// How long a held write waits, such as `1min`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    hold_timeout: Option<String>,
    /// How long open transactions may take to end, such as `10s`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    drain_timeout: Option<String>,
    /// `revert` or `cancel`: what happens if they do not.
    #[serde(default)]
    #[schema(pattern = "^(revert|cancel)$")]
    on_timeout: Option<String>,
    /// `back` or `hold`: what becomes of the databases after a failure.
    #[serde(default)]
    #[schema(pattern = "^(back|hold)$")]
    on_failure: Option<String>,
    /// The server that is taken for the primary: another one is not fenced.
    #[serde(default)]
    primary: Option<String>,
    /// Its system identifier.
    #[serde(default)]
    system_identifier: Option<String>,
    /// Its version, such as `15.4`.
    #[serde(default)]
    version: Option<String>,
}

impl Switchover {
    /// As they stand in WITH (…).
    fn pairs(self) -> Vec<(String, String)> {
        given_options([
            ("dry_run", flag(self.dry_run)),
            ("timeout", self.timeout),
            ("hold_timeout", self.hold_timeout),
            ("drain_timeout", self.drain_timeout),
            ("on_timeout", self.on_timeout),
            ("on_failure", self.on_failure),
            ("primary", self.primary),
            ("system_identifier", self.system_identifier),
            ("version", self.version),
        ])
    }
}

/// SWITCHOVER
///
/// Makes another server of the database's cluster its primary. Writes of all databases of the cluster are held meanwhile. Breaking the
/// operation off calls the switchover off, as long as it can still go back.
#[utoipa::path(post, path = "/v1/databases/{database}/switchover", operation_id = "switchover", tag = "maintenance",
    params(Request),
    request_body = Switchover, responses(Commanded, Refused))]
pub async fn switchover(request: Request, Given(given): Given<Option<Switchover>>) -> Result<Response, Problem> {
    let Some(given) = given else { return Err(Problem::bad_request("the body does not say where to")) };
    let Target::One(database) = request.target() else {
        return Err(Problem::not_found("a switchover is for the cluster of one database"));
    };
    let to = given.to.clone();
    let command = switchover::Request { database, to, options: given.pairs() };
    request.give(Command::Move(MoveCommand::Switchover(command))).await
}

/// Where to, and the options of ACTIVATE. What is left out, or null, is as usual.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activate {
    /// The server that is to be used, as SHOW UPSTREAMS names it: `10.0.0.2:5432`.
    #[schema(min_length = 1, max_length = 300, pattern = r"^[^\x00-\x1f\x7f]+$")]
    on: String,
    /// Only the checks: nothing is changed.
    #[serde(default)]
    dry_run: Option<bool>,
    /// How long it may take until the other server takes writes, such as `30s`.
    #[serde(default)]
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min)$")]
    timeout: Option<String>,
}

/// ACTIVATE
///
/// Has another one of the servers used that replicate each other's writes. Writes of all databases of the cluster are held meanwhile.
/// Breaking the operation off calls it off, as long as it can still go back.
#[utoipa::path(post, path = "/v1/databases/{database}/activate", operation_id = "activate", tag = "maintenance",
    params(Request),
    request_body = Activate, responses(Commanded, Refused))]
pub async fn activate(request: Request, Given(given): Given<Option<Activate>>) -> Result<Response, Problem> {
    let Some(given) = given else { return Err(Problem::bad_request("the body does not say which server")) };
    let Target::One(database) = request.target() else {
        return Err(Problem::not_found("a server is activated for the cluster of one database"));
    };
    let options = given_options([("dry_run", flag(given.dry_run)), ("timeout", given.timeout)]);
    let command = activate::Request { database, to: given.on, options };
    request.give(Command::Move(MoveCommand::Activate(command))).await
}

/// Rows of SHOW MOVES.
pub struct MoveRow;

impl utoipa::PartialSchema for MoveRow {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        page_schema(commands::columns_alone(&Command::Show(Show::Moves)).unwrap_or_default())
    }
}

impl ToSchema for MoveRow {}

/// Moves that are under way, and the last that are over, newest first
#[utoipa::path(get, path = "/v1/moves", operation_id = "moves", tag = "process", params(Paging),
    responses((status = 200, description = "Rows of SHOW MOVES", body = MoveRow), Refused))]
pub async fn moves(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
) -> Result<Rows, Problem> {
    rows(&api, identity, Show::Moves, "/v1/moves", &paging, &Filter::default()).await
}
