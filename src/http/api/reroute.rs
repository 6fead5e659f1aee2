//! `/v1/databases/NAME/reroute`: REROUTE to another cluster, and back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::asking::{Asked, Given, Name, flag, given_options};
use super::maintenance::Request;
use super::views::{Commanded, Missing, Refused, object, row_schema};
use crate::admin::commands;
use crate::admin::commands::Caller;
use crate::admin::language::command::{Command, Show};
use crate::admin::reroute::{COLUMNS, RerouteCommand};
use crate::admin::table::Cell;
use crate::gate::Target;
use crate::http::Api;
use crate::http::access::Reader;
use crate::http::problem::Problem;
use crate::proxy::reroute::Destination;

/// Where clients are led.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// A cluster of the configuration.
    #[schema(min_length = 1)]
    cluster: String,
    /// The database's name there. Left out or null: as it is called now.
    #[schema(min_length = 1, max_length = 63, pattern = r"^[^\x00]+$")]
    dbname: Option<String>,
    /// `reject` or `allow`. Left out or null: `reject`.
    #[schema(pattern = "^(reject|allow)$")]
    writes: Option<String>,
    /// What applications are told whose writes are refused: one line.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    message: Option<String>,
    /// How long transactions may take to end where they began, such as `30s`.
    #[schema(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min|0)$")]
    timeout: Option<String>,
    /// Only looks whether it could be done: nothing is changed.
    #[serde(default)]
    dry_run: Option<bool>,
}

/// The options of REROUTE BACK.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Back {
    /// How long transactions may take to end where they began, such as `30s`.
    #[param(pattern = r"^([1-9][0-9]{0,3}(ms|s)|[1-9][0-9]{0,2}min|0)$")]
    timeout: Option<String>,
    /// Only looks whether it could be done: nothing is changed.
    dry_run: Option<bool>,
}

/// A row of SHOW REROUTES.
pub struct RerouteRow;

impl PartialSchema for RerouteRow {
    fn schema() -> RefOr<Schema> {
        row_schema(COLUMNS)
    }
}

impl ToSchema for RerouteRow {
    fn name() -> std::borrow::Cow<'static, str> {
        "RerouteRow".into()
    }
}

fn command(request: &Request, to: Destination, options: Vec<(String, String)>) -> Result<Command, Problem> {
    match request.target() {
        Target::One(database) => Ok(Command::Reroute(RerouteCommand { database, to, options })),
        Target::All => Err(Problem::not_found("a reroute is of one database")),
    }
}

/// Where clients are led
#[utoipa::path(get, path = "/v1/databases/{database}/reroute", operation_id = "rerouted", tag = "maintenance",
    params(("database" = String, Path, description = "A database, as clients name it")),
    responses((status = 200, description = "Its row of SHOW REROUTES", body = RerouteRow), Missing, Refused))]
pub async fn look(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    name: Name,
) -> Result<Json<Map<String, Value>>, Problem> {
    let (caller, _) = Caller::new(api.proxy.clone(), identity.who);
    let table = commands::run(&caller, &Command::Show(Show::Reroutes)).await?;
    let is_it = |row: &&Vec<Cell>| matches!(row.first(), Some(Cell::Text(database)) if *database == name.0);
    let row = table.iter().flat_map(|table| &table.rows).find(is_it);
    let row = row.ok_or_else(|| match api.proxy.databases.get(&name.0) {
        Some(_) => Problem::not_found(format!("database \"{}\" is not rerouted", name.0)),
        None => Problem::no_database(&name.0),
    })?;
    Ok(Json(object(COLUMNS, row)))
}

/// REROUTE TO
///
/// Leads the database's clients to another cluster. They stay connected, and their next transaction goes there, to read only unless
/// writes are allowed.
#[utoipa::path(put, path = "/v1/databases/{database}/reroute", operation_id = "reroute", tag = "maintenance",
    params(Request),
    request_body = To, responses(Commanded, Refused))]
pub async fn to(request: Request, Given(given): Given<Option<To>>) -> Result<Response, Problem> {
    let Some(to) = given else { return Err(Problem::bad_request("the body names no cluster")) };
    let options = given_options([
        ("dbname", to.dbname),
        ("writes", to.writes),
        ("message", to.message),
        ("timeout", to.timeout),
        ("dry_run", flag(to.dry_run)),
    ]);
    let command = command(&request, Destination::Cluster(to.cluster), options)?;
    request.give(command).await
}

/// REROUTE BACK
///
/// Leads the database's clients back to where the configuration says.
#[utoipa::path(
    delete,
    path = "/v1/databases/{database}/reroute",
    operation_id = "reroute_back",
    tag = "maintenance",
    params(Request, Back),
    responses(Commanded, Refused)
)]
pub async fn back(request: Request, Asked(back): Asked<Back>) -> Result<Response, Problem> {
    let command = command(
        &request,
        Destination::Back,
        given_options([("timeout", back.timeout), ("dry_run", flag(back.dry_run))]),
    )?;
    request.give(command).await
}
