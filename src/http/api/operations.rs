//! `/v1/operations`: commands on their way, looked at, waited for, followed, broken off.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::asking::{Asked, Name, Paging, Patience, wants_stream};
use super::maintenance::wait_for;
use super::views::{Missing, OperationPage, OperationView, Page, Refused, Shared};
use crate::admin::commands;
use crate::admin::language::command::{Command, GateCommand};
use crate::gate::Wait;
use crate::http::Api;
use crate::http::access::{Identity, Operator, Reader};
use crate::http::problem::Problem;

/// Between two words on a drain that goes on.
const TICK: Duration = Duration::from_secs(1);
/// How long a drain that was called off may take to say so.
const CALLED_OFF: Duration = Duration::from_secs(5);

/// Commands on their way, and what has become of those that are over
#[utoipa::path(get, path = "/v1/operations", operation_id = "operations", tag = "operations", params(Paging), responses(
    (status = 200, description = "A part of the last 1,000, newest first", body = OperationPage),
    Refused,
))]
pub async fn list(
    _: Reader,
    State(api): State<Arc<Api>>,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<OperationView>>, Problem> {
    let part = paging.read()?;
    let all = api.operations.all();
    let items = all.iter().skip(part.0).take(part.1).map(|one| OperationView::of(&api.proxy, one)).collect();
    Ok(Json(Page::new(items, all.len(), part, "/v1/operations", &[])))
}

fn find(api: &Api, id: &Name) -> Result<Shared, Problem> {
    api.operations.get(&id.0).ok_or_else(|| Problem::not_found("there is no such operation"))
}

/// How far an operation has come
///
/// With `wait`, once it is over or the time has passed. Whoever accepts `text/event-stream` gets an event `progress` each second
/// and, when it is over, an event `done` or `failed`, each with the operation as data.
#[utoipa::path(get, path = "/v1/operations/{operation}", operation_id = "operation", tag = "operations",
    params(("operation" = String, Path, description = "Its id"), Patience),
    responses(
        (status = 200, description = "As it is now", content((OperationView = "application/json"), (String = "text/event-stream"))),
        (status = 503, description = "Too many requests wait already", body = Problem, content_type = "application/problem+json"),
        Missing, Refused))]
pub async fn get(
    Reader(identity): Reader,
    State(api): State<Arc<Api>>,
    id: Name,
    Asked(patience): Asked<Patience>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let operation = find(&api, &id)?;
    if wants_stream(&headers) {
        return follow(api, identity, operation);
    }
    // Here nobody waits who has not said so.
    if patience.is_given(&headers) {
        wait_for(&api, &operation, patience.read(&headers)?).await;
    }
    Ok(Json(OperationView::of(&api.proxy, &operation)).into_response())
}

/// Breaks an operation off
///
/// A drain is called off by the opposite command, as on the console: MAINTENANCE OFF, or ONLINE. A switchover is called off as long as
/// it can still go back. The answer is the operation as it
/// is then.
#[utoipa::path(delete, path = "/v1/operations/{operation}", operation_id = "cancel", tag = "operations",
    params(("operation" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "It was broken off, or is over", body = OperationView),
        (status = 409, description = "It was over already", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "It cannot be done now", body = Problem, content_type = "application/problem+json"),
        Missing, Refused))]
pub async fn cancel(Operator(who): Operator, State(api): State<Arc<Api>>, id: Name) -> Result<Response, Problem> {
    let operation = find(&api, &id)?;
    if !operation.is_running() {
        return Err(Problem::new(StatusCode::CONFLICT, "the operation is over").of_operation(&operation.id));
    }
    let opposite = match &operation.command {
        Command::Gate(command) => command.verb.opposite().map(|verb| GateCommand {
            verb,
            target: command.target.clone(),
            options: Vec::new(),
            wait: Wait::Quiesced,
        }),
        _ => None,
    };
    if let Command::Move(command) = &operation.command {
        commands::call_off(&api.proxy, command, &who);
        let _ = timeout(CALLED_OFF, operation.over()).await;
        return Ok(Json(OperationView::of(&api.proxy, &operation)).into_response());
    }
    match opposite {
        Some(opposite) => {
            let opens = api.operations.begin(&api.proxy, who, None, Command::Gate(opposite))?;
            // The one that is called off says so before the other is in force.
            let _ = timeout(CALLED_OFF, async { tokio::join!(operation.over(), opens.over()) }).await;
        }
        None => operation.break_off(),
    }
    Ok(Json(OperationView::of(&api.proxy, &operation)).into_response())
}

fn follow(api: Arc<Api>, identity: Identity, operation: Shared) -> Result<Response, Problem> {
    let place = api.long.clone().try_acquire_owned().map_err(|_| crowded())?;
    let (events, read) = mpsc::channel::<Result<Event, Infallible>>(4);
    tokio::spawn(async move {
        let _place = place;
        loop {
            // Whose token was taken away is told nothing more.
            if identity.role_now(&api).is_none() {
                return;
            }
            let view = OperationView::of(&api.proxy, &operation);
            let over = view.state != "running";
            let name = if over { view.state } else { "progress" };
            let text = serde_json::to_string(&view).unwrap_or_default();
            // Whoever has gone is not told.
            if events.send(Ok(Event::default().event(name).data(text))).await.is_err() || over {
                return;
            }
            tokio::select! {
                _ = timeout(TICK, operation.over()) => {}
                () = events.closed() => return,
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(read)).into_response())
}

/// There is no place for a request that takes long.
pub fn crowded() -> Problem {
    Problem::later(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait already", 5)
}
