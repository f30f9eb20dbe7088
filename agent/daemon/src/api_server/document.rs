//! What all operations of the API's document have in common, so that no route forgets it.

use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder};

/// Gives every operation an id of its own and a reply for failures, and every reply a description.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let noun = path.trim_start_matches("/v1/").split('/').next();
        let noun = noun.unwrap_or_default().to_owned();
        for operation in operations(item) {
            identify(operation, &noun);
            describe(operation);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Handlers of several nouns have the same names.
fn identify(operation: &mut Operation, noun: &str) {
    if let Some(id) = &mut operation.operation_id
        && id != noun
    {
        *id = format!("{noun}_{id}");
    }
}

fn describe(operation: &mut Operation) {
    let summary = operation.summary.clone().unwrap_or_default();
    let responses = &mut operation.responses.responses;
    responses
        .entry(OTHERWISE.to_owned())
        .or_insert_with(|| RefOr::T(failure()));
    for (status, response) in responses {
        let RefOr::T(response) = response else {
            continue;
        };
        if response.description.is_empty() {
            response.description = match status.as_str() {
                OTHERWISE => FAILURE.to_owned(),
                _ => summary.clone(),
            };
        }
    }
}

fn failure() -> Response {
    let schema = Ref::from_schema_name("ApiError");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .content("application/json", content)
        .build()
}

const OTHERWISE: &str = "default";
const FAILURE: &str = "What failed, why, and what to do.";
