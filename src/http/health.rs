//! Health for load balancers: whether the process lives, and what it can serve.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::api::Asked;
use super::problem::Problem;
use crate::gate::Mode;
use crate::shared::maintenance::availability::Service;
use crate::shared::{Database, ProxyState};
use crate::topology::Role;

/// Whether the process lives
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "public", security(()),
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")))]
pub async fn live() -> &'static str {
    "ok\n"
}

/// What readiness is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct For {
    /// One database only.
    database: Option<String>,
    /// What has to be possible for 200; without it, reads.
    #[param(inline)]
    r#for: Option<Use>,
}

/// What a database is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// A server can be read from.
    Reads,
    /// The primary is known, and the gate is open.
    Writes,
}

/// Whether something can be done, and why not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Somebody wants it so: it is no failure.
    #[serde(skip)]
    intended: bool,
}

impl Readiness {
    const YES: Self = Self { ready: true, reason: None, intended: false };

    fn no(reason: impl Into<String>) -> Self {
        Self { ready: false, reason: Some(reason.into()), intended: false }
    }

    fn intended(reason: &'static str) -> Self {
        Self { intended: true, ..Self::no(reason) }
    }

    /// What its servers can do counts where the database serves it as well.
    fn if_served(self, service: &Service) -> Self {
        match service.reason() {
            Some(why) if self.ready => Self::no(why),
            Some(_) | None => self,
        }
    }
}

/// What can be done with a database.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseReadiness {
    database: String,
    reads: Readiness,
    writes: Readiness,
}

impl DatabaseReadiness {
    /// Of one database.
    pub fn of(database: &Database) -> Self {
        let name = database.name.to_string();
        if database.is_paused() || database.is_disabled() {
            let why = if database.is_disabled() { "disabled" } else { "paused" };
            return Self { database: name, reads: Readiness::intended(why), writes: Readiness::intended(why) };
        }
        let now = database.availability();
        // What automation has closed nobody wants so.
        let is_intended = now.mode != Mode::ReadWrite && !now.automatic;
        if is_intended && !now.mode.admits_connections() {
            return Self {
                database: name,
                reads: Readiness::intended("offline"),
                writes: Readiness::intended("offline"),
            };
        }
        let (reads, writes) = served(database);
        // While the gate is open reads wait for a primary that is lost for a moment: no reason to go out of service.
        let reads = if now.mode == Mode::ReadWrite { reads } else { reads.if_served(&now.reads) };
        let writes = if is_intended { Readiness::intended("in maintenance") } else { writes.if_served(&now.writes) };
        Self { database: name, reads, writes }
    }

    fn is_ready(&self) -> bool {
        self.reads.ready && self.writes.ready
    }
}

/// By the servers alone.
fn served(database: &Database) -> (Readiness, Readiness) {
    let cluster = &database.setup().cluster;
    let serves = |role| matches!(role, Role::Primary | Role::Replica);
    if !cluster.upstreams.iter().any(|server| serves(server.role())) {
        return (Readiness::no("no server can be reached"), Readiness::no("no server can be reached"));
    }
    let writes = if cluster.is_contested() {
        Readiness::no("two servers claim to be the primary")
    } else {
        match cluster.primary().and_then(|at| cluster.upstreams.get(at)) {
            Some(primary) if primary.role() == Role::Primary => {
                if primary.is_read_only() {
                    Readiness::no("the primary is read-only")
                } else {
                    Readiness::YES
                }
            }
            _ => Readiness::no("the primary cannot be reached"),
        }
    };
    (Readiness::YES, writes)
}

/// What is ready, and what is not.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// Whether all that was asked for can be done.
    ready: bool,
    /// Databases with anything that cannot be done.
    databases: Vec<DatabaseReadiness>,
}

/// What can be served
///
/// 503 if a database cannot be read although nobody has taken it offline; with `for=writes`, or of one `database`, if that cannot
/// be done for whatever reason. The body names each database that cannot be read or written, and why: lines of text, or JSON for
/// whoever accepts that.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "public", params(For), security(()),
    responses(
        (status = 200, description = "All of it", content((String = "text/plain"), (Ready = "application/json"))),
        (status = 400, description = "The question is not understood", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such database", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Not all of it", content((String = "text/plain"), (Ready = "application/json"))),
    ))]
pub async fn ready(State(api): State<Arc<Api>>, headers: HeaderMap, Asked(question): Asked<For>) -> Response {
    let Some(ready) = look(&api.proxy, &question) else {
        return Problem::no_database(question.database.as_deref().unwrap_or_default()).into_response();
    };
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/json") {
        let text = serde_json::to_string(&ready).unwrap_or_default();
        return (status, [(CONTENT_TYPE, "application/json")], text).into_response();
    }
    (status, words(&ready)).into_response()
}

/// None: there is no such database.
fn look(proxy: &ProxyState, question: &For) -> Option<Ready> {
    let (databases, all) = match &question.database {
        // Names are not made up by asking for them.
        Some(name) => (proxy.databases.all().into_iter().filter(|one| *one.name == **name).collect::<Vec<_>>(), false),
        None => (proxy.databases.all(), true),
    };
    if databases.is_empty() && !all {
        return None;
    }
    let databases: Vec<_> = databases.iter().map(|database| DatabaseReadiness::of(database)).collect();
    let wanted = question.r#for.unwrap_or(Use::Reads);
    let fails = |one: &DatabaseReadiness| {
        let part = if wanted == Use::Writes { &one.writes } else { &one.reads };
        // Nobody takes a whole proxy out of service for a database that is offline by an operator's wish.
        let is_wanted = part.intended && all && wanted == Use::Reads;
        !(part.ready || is_wanted)
    };
    // Databases that only a wildcard knows are not there before their first use, their servers are.
    let serves = |role| matches!(role, Role::Primary | Role::Replica);
    let without = |cluster: &crate::topology::Cluster| !cluster.upstreams.iter().any(|server| serves(server.role()));
    let no_server = all && proxy.databases.clusters().iter().any(|cluster| without(cluster));
    let ready = !databases.iter().any(fails) && !no_server;
    Some(Ready { ready, databases: databases.into_iter().filter(|one| !one.is_ready()).collect() })
}

fn words(ready: &Ready) -> String {
    let mut text = String::from(if ready.ready { "ok\n" } else { "not ready\n" });
    for one in &ready.databases {
        for (what, part) in [("reads", &one.reads), ("writes", &one.writes)] {
            if let Some(why) = &part.reason {
                text.push_str(&format!("{}: {what}: {why}\n", one.database));
            }
        }
    }
    text
}
