//! The document that describes the API describes all of it.

use serde_json::Value;

use crate::harness::Host;

const ROUTES: [(&str, &str); 21] = [
    ("get", "/v1/version"),
    ("get", "/v1/info"),
    ("get", "/v1/networks"),
    ("post", "/v1/networks"),
    ("post", "/v1/networks/prune"),
    ("get", "/v1/networks/{name}"),
    ("delete", "/v1/networks/{name}"),
    ("post", "/v1/networks/{name}/connect"),
    ("post", "/v1/networks/{name}/disconnect"),
    ("get", "/v1/networks/{name}/fdb"),
    ("get", "/v1/networks/{name}/ports"),
    ("get", "/v1/endpoints"),
    ("post", "/v1/endpoints"),
    ("delete", "/v1/endpoints/{id}"),
    ("get", "/v1/containers"),
    ("post", "/v1/containers"),
    ("get", "/v1/containers/{name}"),
    ("delete", "/v1/containers/{name}"),
    ("post", "/v1/containers/{name}/start"),
    ("post", "/v1/containers/{name}/stop"),
    ("post", "/v1/containers/{name}/exec"),
];

#[test]
fn document_has_every_route_and_its_references_resolve() {
    let host = Host::start();
    let document: Value = host.api("GET", "/v1/openapi.json", None).ok();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.")),
        "{document}"
    );
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for (method, path) in ROUTES {
        let operation = &document["paths"][path][method];
        assert!(
            operation["responses"].is_object(),
            "{method} {path} is missing"
        );
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
}

#[test]
fn unknown_routes_and_methods_are_json_errors() {
    let host = Host::start();
    let missing = host.api("GET", "/v1/nonsense", None);
    assert_eq!(
        (missing.status, &missing.body["kind"]),
        (404, &"not_found".into()),
        "{missing:?}"
    );
    assert_eq!(host.api("PUT", "/v1/networks", None).status, 405);
    let unknown = host.api("GET", "/v1/networks/nonet", None);
    assert_eq!(
        (unknown.status, &unknown.body["kind"]),
        (404, &"not_found".into()),
        "{unknown:?}"
    );
}

fn collect_references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members
                .values()
                .for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_references(item, found)),
        _ => {}
    }
}
