//! `/v1/databases/NAME/maintenance` and `/offline`: MAINTENANCE ON and OFF, OFFLINE and ONLINE.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header::LOCATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

use super::asking::{Asked, Given, Name, Patience, flag, given_options, key};
use super::views::{Commanded, DatabaseView, Missing, OperationView, Refused, Shared};
use crate::admin::language::command::{Command, GateCommand};
use crate::gate::{Target, Verb, Wait, Who};
use crate::http::Api;
use crate::http::access::{Operator, Reader};
use crate::http::operations::State as How;
use crate::http::problem::Problem;
use crate::protocol::Report;

/// The options of MAINTENANCE ON and OFFLINE. What is left out, or null, is as configured, or stays as it is in a mode that holds.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// What applications are told: one line. Empty: nothing.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    message: Option<String>,
    /// When writes are expected back: an RFC 3339 time that lies ahead, or `infinity`.
    #[schema(pattern = r"^([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*|infinity)$")]
    until: Option<String>,
    /// The gate opens by itself after this time, such as `2h`. `0`: it does not.
    #[schema(pattern = r"^([0-9]+(\.[0-9]+)?(us|ms|s|min|h|d)|0)$")]
    expire: Option<String>,
    /// `reject` or `hold`.
    #[schema(pattern = "^(reject|hold)$")]
    writes: Option<String>,
    /// How long a held write waits, such as `10s`.
    #[schema(pattern = r"^([0-9]+(\.[0-9]+)?(us|ms|s|min|h|d)|0)$")]
    hold_timeout: Option<String>,
    /// How long open transactions may take to end, such as `30s`.
    #[schema(pattern = r"^([0-9]+(\.[0-9]+)?(us|ms|s|min|h|d)|0)$")]
    drain_timeout: Option<String>,
    /// `cancel` or `revert`: what happens to those that do not.
    #[schema(pattern = "^(cancel|revert)$")]
    on_timeout: Option<String>,
    /// `any`, `replica` or `primary`: where reads go.
    #[schema(pattern = "^(any|replica|primary)$")]
    reads: Option<String>,
    /// Close even where the check for hidden writes does not work.
    accept_unchecked: Option<bool>,
}

impl Options {
    /// As they stand in WITH (…).
    fn pairs(self) -> Vec<(String, String)> {
        given_options([
            ("message", self.message),
            ("until", self.until),
            ("expire", self.expire),
            ("writes", self.writes),
            ("hold_timeout", self.hold_timeout),
            ("drain_timeout", self.drain_timeout),
            ("on_timeout", self.on_timeout),
            ("reads", self.reads),
            ("accept_unchecked", flag(self.accept_unchecked)),
        ])
    }
}

/// The option of MAINTENANCE OFF and ONLINE.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Unsaved {
    /// Open even if that cannot be saved: a restart closes the gate again.
    unsaved: Option<bool>,
}

impl Unsaved {
    fn pairs(&self) -> Vec<(String, String)> {
        given_options([("unsaved", flag(self.unsaved))])
    }
}

/// What a request for a command brings besides its body.
pub struct Request {
    api: Arc<Api>,
    who: Who,
    name: Name,
    headers: HeaderMap,
    patience: Patience,
}

impl FromRequestParts<Arc<Api>> for Request {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let Operator(who) = Operator::from_request_parts(parts, api).await?;
        let name = Name::from_request_parts(parts, api).await?;
        let Asked(patience) = Asked::from_request_parts(parts, api).await?;
        Ok(Self { api: api.clone(), who, name, headers: parts.headers.clone(), patience })
    }
}

/// Documents the part of the path that is read as a [`Name`].
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its documentation is used")]
struct DatabaseInPath {
    /// A database, as clients name it, or `*` for all
    database: String,
}

/// Documents the header that [`key`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its documentation is used")]
struct IdempotencyKey {
    /// The same key and command are the same operation for a day
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = r"^[!-~]([ -~]*[!-~])?$")]
    key: Option<String>,
}

impl IntoParams for Request {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parts =
            [DatabaseInPath::into_params(&place), Patience::into_params(&place), IdempotencyKey::into_params(&place)];
        parts.concat()
    }
}

impl Request {
    /// The databases that are meant.
    pub fn target(&self) -> Target {
        self.name.target()
    }

    /// Gives the command, and answers with what has become of it, or with where that will be told.
    pub async fn give(self, command: Command) -> Result<Response, Problem> {
        let patience = self.patience.read(&self.headers)?;
        let operation = self.api.operations.begin(&self.api.proxy, self.who, key(&self.headers)?, command)?;
        wait_for(&self.api, &operation, patience).await;
        answer(&self.api, &operation)
    }

    async fn gate(self, verb: Verb, options: Vec<(String, String)>) -> Result<Response, Problem> {
        let command = GateCommand { verb, target: self.target(), options, wait: Wait::Quiesced };
        self.give(Command::Gate(command)).await
    }
}

/// Waits until an operation is over, but not for longer, and only if there is a place for it.
pub async fn wait_for(api: &Api, operation: &Shared, patience: Duration) {
    // What only takes a moment needs no place.
    let moment = patience.min(Duration::from_secs(1));
    if timeout(moment, operation.over()).await.is_ok() || patience <= moment {
        return;
    }
    if let Ok(_place) = api.long.try_acquire() {
        let _ = timeout(patience.saturating_sub(moment), operation.over()).await;
    }
}

/// 200, 202 or the error.
pub fn answer(api: &Api, operation: &Shared) -> Result<Response, Problem> {
    let status = match operation.state() {
        How::Done(..) => StatusCode::OK,
        How::Running => StatusCode::ACCEPTED,
        How::Failed(_, report) => return Err(Problem::from(Report::clone(&report)).of_operation(&operation.id)),
    };
    let mut response = (status, Json(OperationView::of(&api.proxy, operation))).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/operations/{}", operation.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// The mode, and what goes with it
#[utoipa::path(get, path = "/v1/databases/{database}/maintenance", operation_id = "maintenance", tag = "maintenance",
    params(("database" = String, Path, description = "A database, as clients name it")),
    responses((status = 200, description = "A row of SHOW MAINTENANCE", body = DatabaseView), Missing, Refused))]
pub async fn look(_: Reader, State(api): State<Arc<Api>>, name: Name) -> Result<Json<DatabaseView>, Problem> {
    let row = api.proxy.gates.show_one(&name.0).ok_or_else(|| Problem::no_database(&name.0))?;
    Ok(Json(DatabaseView::of(&row)))
}

/// MAINTENANCE ON
///
/// Closes the gate to writes: open transactions may end until drain_timeout. In a maintenance that goes on, changes the options that
/// are named.
#[utoipa::path(put, path = "/v1/databases/{database}/maintenance", operation_id = "maintenance_on", tag = "maintenance",
    params(Request),
    request_body = Option<Options>, responses(Commanded, Refused))]
pub async fn on(request: Request, Given(options): Given<Option<Options>>) -> Result<Response, Problem> {
    request.gate(Verb::On, options.unwrap_or_default().pairs()).await
}

/// MAINTENANCE OFF
///
/// Opens the gate, or calls off a MAINTENANCE ON that still drains.
#[utoipa::path(
    delete,
    path = "/v1/databases/{database}/maintenance",
    operation_id = "maintenance_off",
    tag = "maintenance",
    params(Request, Unsaved),
    responses(Commanded, Refused)
)]
pub async fn off(request: Request, Asked(unsaved): Asked<Unsaved>) -> Result<Response, Problem> {
    request.gate(Verb::Off, unsaved.pairs()).await
}

/// OFFLINE
///
/// Closes the database to everybody but operators: transactions may end until drain_timeout, then sessions are sent away.
#[utoipa::path(put, path = "/v1/databases/{database}/offline", operation_id = "offline", tag = "maintenance",
    params(Request),
    request_body = Option<Options>, responses(Commanded, Refused))]
pub async fn offline(request: Request, Given(options): Given<Option<Options>>) -> Result<Response, Problem> {
    request.gate(Verb::Offline, options.unwrap_or_default().pairs()).await
}

/// ONLINE
///
/// Ends OFFLINE, or calls off one that still drains. A MAINTENANCE that is ON stays ON.
#[utoipa::path(
    delete,
    path = "/v1/databases/{database}/offline",
    operation_id = "online",
    tag = "maintenance",
    params(Request, Unsaved),
    responses(Commanded, Refused)
)]
pub async fn online(request: Request, Asked(unsaved): Asked<Unsaved>) -> Result<Response, Problem> {
    request.gate(Verb::Online, unsaved.pairs()).await
}
