//! `/v1/events`.

use std::sync::Arc;

use agent_api::{ApiError, ErrorKind, Event, EventFilters, EventQuery};
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::reply::{Refusal, chunks_of};
use crate::agent::Agent;

pub(super) fn routes() -> OpenApiRouter<Arc<Agent>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Milliseconds since the epoch: also those of that time and later that the agent still knows.
    since_ms: Option<u64>,
    /// Milliseconds since the epoch: the answer ends then.
    until_ms: Option<u64>,
    /// As `{"type":["container"],"label":["tier=front"]}`: values of a key are alternatives, of labels all have to fit. Keys are container,
    /// endpoint, event, host, label, network and type.
    filters: Option<String>,
}

/// What happens on this host: one JSON object a line, until the client hangs up or the agent ends. Nobody waits for a client that is too
/// slow: it loses events, and the next line says how many.
#[utoipa::path(get, path = "/events", params(ListQuery),
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = "default", body = ApiError)))]
async fn list(
    State(agent): State<Arc<Agent>>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    let query = EventQuery {
        since_ms: query.since_ms,
        until_ms: query.until_ms,
        filters: filters(query.filters.as_deref())?,
    };
    let ground = &agent.ground;
    let lines = ground.events.read(&query, &ground.runtime)?;
    Ok(chunks_of("application/x-ndjson", lines))
}

fn filters(given: Option<&str>) -> Result<EventFilters, ApiError> {
    match given {
        None | Some("") => Ok(EventFilters::new()),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            let why = format!(
                "filters={text:.60}: {error}; write a list of values by key, as {{\"type\":[\"network\"]}}"
            );
            ApiError::new(ErrorKind::Invalid, why)
        }),
    }
}
