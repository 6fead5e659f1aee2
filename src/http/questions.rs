//! What requests ask for in the query: what a resource does not know is an error, because whoever asks would take it for done. The
//! OpenAPI document says what each one knows.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use super::problem::Problem;

/// The names that each resource knows.
pub struct Questions(HashMap<String, Vec<(Method, Vec<String>)>>);

impl Questions {
    /// By what the document says of each method of each path.
    pub fn of(document: &OpenApi) -> Self {
        let methods = document.paths.paths.iter().map(|(path, item)| {
            let all = [
                (Method::GET, &item.get),
                (Method::PUT, &item.put),
                (Method::POST, &item.post),
                (Method::DELETE, &item.delete),
            ];
            let known = |(method, operation): (Method, &Option<Operation>)| Some((method, names(operation.as_ref()?)?));
            (path.clone(), all.into_iter().filter_map(known).collect())
        });
        Self(methods.collect())
    }

    fn unknown(&self, path: &str, method: &Method, given: &[(String, String)]) -> Option<String> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let (_, known) = self.0.get(path)?.iter().find(|(one, _)| one == method)?;
        given.iter().map(|(name, _)| name).find(|name| !known.contains(name)).cloned()
    }
}

/// None for what is public: visitors' browsers and probes may add something of their own.
fn names(operation: &Operation) -> Option<Vec<String>> {
    if operation.tags.iter().flatten().any(|tag| tag == "public") {
        return None;
    }
    let name = |one: &RefOr<Parameter>| match one {
        RefOr::T(one) if matches!(one.parameter_in, ParameterIn::Query) => Some(one.name.clone()),
        _ => None,
    };
    Some(operation.parameters.iter().flatten().filter_map(name).collect())
}

/// Turns away requests that ask for what the resource does not know.
pub async fn check(
    State(questions): State<Arc<Questions>>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        let Ok(Query(given)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
            return Problem::bad_request("the query is not understood").into_response();
        };
        if let Some(name) = questions.unknown(path.as_str(), request.method(), &given) {
            let text = format!("there is no parameter \"{}\"", name.escape_debug());
            return Problem::bad_request(text).into_response();
        }
    }
    next.run(request).await
}
