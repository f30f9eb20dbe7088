//! The document that describes the API describes all of it.

use std::collections::HashSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Generator, Host, Reply, from_pypi, request_raw, run};

/// As `scripts/setup` has it.
const VALIDATOR_VERSION: &str = "0.7.2";
/// Some of each operation.
const CALLS_MIN: usize = 100;
const ROUTES: [(&str, &str); 53] = [
    ("get", "/v1/version"),
    ("get", "/v1/info"),
    ("get", "/v1/cluster"),
    ("get", "/v1/events"),
    ("get", "/v1/cluster/health"),
    ("get", "/v1/networks"),
    ("post", "/v1/networks"),
    ("post", "/v1/networks/prune"),
    ("get", "/v1/networks/{name}"),
    ("delete", "/v1/networks/{name}"),
    ("post", "/v1/networks/{name}/connect"),
    ("post", "/v1/networks/{name}/disconnect"),
    ("post", "/v1/networks/{name}/patches"),
    ("delete", "/v1/networks/{name}/patches/{other}"),
    ("get", "/v1/networks/{name}/mirrors"),
    ("post", "/v1/networks/{name}/mirrors"),
    ("delete", "/v1/networks/{name}/mirrors/{from}"),
    ("get", "/v1/networks/{name}/capture"),
    ("get", "/v1/containers/{name}/capture"),
    ("get", "/v1/networks/{name}/fdb"),
    ("delete", "/v1/networks/{name}/fdb"),
    ("get", "/v1/networks/{name}/mdb"),
    ("post", "/v1/networks/{name}/fdb"),
    ("delete", "/v1/networks/{name}/fdb/{mac}"),
    ("get", "/v1/networks/{name}/acl"),
    ("post", "/v1/networks/{name}/acl"),
    ("delete", "/v1/networks/{name}/acl/{priority}"),
    ("post", "/v1/networks/{name}/acl/default"),
    ("patch", "/v1/endpoints/{id}/labels"),
    ("get", "/v1/endpoints/{id}/port"),
    ("patch", "/v1/endpoints/{id}/port"),
    ("get", "/v1/networks/{name}/ports"),
    ("get", "/v1/networks/{name}/trace"),
    ("post", "/v1/networks/{name}/trace"),
    ("get", "/v1/endpoints"),
    ("post", "/v1/endpoints"),
    ("delete", "/v1/endpoints"),
    ("delete", "/v1/endpoints/{id}"),
    ("post", "/v1/endpoints/{id}/up"),
    ("post", "/v1/endpoints/{id}/down"),
    ("get", "/v1/links"),
    ("get", "/v1/endpoints/{id}/link"),
    ("patch", "/v1/endpoints/{id}/link"),
    ("get", "/v1/rates"),
    ("get", "/v1/endpoints/{id}/rate"),
    ("patch", "/v1/endpoints/{id}/rate"),
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

/// Requests that a generator makes up about what is there are answered as the document says.
#[test]
fn what_a_generator_asks_about_real_things_is_answered_as_the_document_says() {
    let host = Host::start();
    host.tapestry(&["network", "create", "lab"]).ok();
    host.idle("web", "lab", &[]);
    let endpoint = host.endpoint("lab", "station");
    let mut document: Value = host.api("GET", "/v1/openapi.json", None).ok();
    let names = [
        ("name", json!(["lab", "web"])),
        ("id", json!([endpoint.detail.id])),
    ];
    for (name, values) in names {
        let parameters = parameters(&mut document, name);
        assert!(!parameters.is_empty());
        for schema in parameters {
            *schema = json!({ "type": "string", "enum": values });
        }
    }
    let generator = Generator::new(&host, &document);
    let told = generator.run(
        1,
        &[
            // What is there shall stay, and what is followed does not end.
            "--exclude-method",
            "DELETE",
            "--exclude-path-regex",
            "/(stop|disconnect|events|capture|logs?)$",
            "--exclude-operation-id",
            "networks_trace_live",
            "--phases",
            "fuzzing",
            "--max-examples",
            "5",
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ],
    );
    assert_eq!(told.status, 0, "{}\n{}", told.stdout, told.stderr);
    assert!(generator.calls() > CALLS_MIN, "{}", generator.calls());
}

/// The schemas of what is called so in paths.
fn parameters<'d>(document: &'d mut Value, name: &str) -> Vec<&'d mut Value> {
    let paths = document["paths"].as_object_mut().unwrap().values_mut();
    let operations = paths.flat_map(|path| path.as_object_mut().unwrap().values_mut());
    let all = operations.filter_map(|operation| operation.get_mut("parameters")?.as_array_mut());
    let named = all
        .flatten()
        .filter(|parameter| parameter["in"] == "path" && parameter["name"] == name);
    named.map(|parameter| &mut parameter["schema"]).collect()
}

/// By the rules of OpenAPI 3.1, as somebody else reads them.
#[test]
fn document_is_valid() {
    let validator = from_pypi("openapi-spec-validator", VALIDATOR_VERSION);
    let host = Host::start();
    let text = host.api("GET", "/v1/openapi.json", None).body;
    assert!(text["openapi"].as_str().unwrap().starts_with("3.1."));
    let document = host.dir().join("openapi.json");
    let is_valid = |text: &Value| {
        std::fs::write(&document, text.to_string()).unwrap();
        run(Command::new(&validator).arg(&document))
    };
    is_valid(&text).ok();
    // A reply without a description.
    let mut wrong = text;
    let reply = &mut wrong["paths"]["/v1/version"]["get"]["responses"]["200"];
    reply.as_object_mut().unwrap().remove("description");
    assert_ne!(is_valid(&wrong).status, 0);
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
    let method = host.api("PUT", "/v1/networks", None);
    assert_eq!(
        (method.status, &method.body["kind"]),
        (405, &"method_not_allowed".into()),
        "{method:?}"
    );
    let unknown = host.api("GET", "/v1/networks/nonet", None);
    assert_eq!(
        (unknown.status, &unknown.body["kind"]),
        (404, &"not_found".into()),
        "{unknown:?}"
    );
}

/// Every operation of the document: method, path, description.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &'_ Value)| {
        let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
        methods
            .into_iter()
            .map(|method| (method, path.clone()))
            .collect::<Vec<_>>()
    };
    let all = paths.iter().flat_map(of_path);
    all.map(|(method, path)| {
        let operation = &document["paths"][&path][&method];
        (method, path, operation)
    })
    .collect()
}

#[test]
fn every_operation_has_its_own_id_and_says_what_it_replies() {
    let host = Host::start();
    let document: Value = host.api("GET", "/v1/openapi.json", None).ok();
    let operations = operations(&document);
    assert!(operations.len() >= ROUTES.len());
    let mut ids = HashSet::new();
    for (method, path, operation) in operations {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(
            !id.is_empty() && ids.insert(id.to_owned()),
            "{method} {path}: {id:?}"
        );
        assert!(operation["summary"].is_string(), "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(
            responses["default"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/ApiError",
            "{method} {path}"
        );
        for (status, response) in responses {
            let description = response["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{method} {path} {status}");
        }
    }
}

#[test]
fn whatever_is_wrong_with_a_request_the_error_has_one_shape() {
    let host = Host::start();
    let document: Value = host.api("GET", "/v1/openapi.json", None).ok();
    let send = |method: &str, path: &str, body: &[u8]| {
        request_raw(&host.socket(), &method.to_uppercase(), path, body).unwrap()
    };
    let long = vec![b' '; (16 << 20) + 1];
    let (mut bodies, mut queries) = (0, 0);
    for (method, path, operation) in operations(&document) {
        let named = path.replace("{name}", "nobody").replace("{id}", "nothing");
        is_error(&send("trace", &named, b""), 405, "method_not_allowed");
        if operation["requestBody"].is_object() {
            bodies += 1;
            is_error(&send(&method, &named, b""), 400, "invalid");
            is_error(&send(&method, &named, b"{"), 400, "invalid");
            is_error(&send(&method, &named, b"3"), 400, "invalid");
            is_error(&send(&method, &named, &long), 413, "too_long");
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        // Any text may be a path or a name.
        let is_checked = |parameter: &&Value| {
            let is_text = parameter["schema"]["type"]
                .as_str()
                .is_some_and(|kind| kind == "string")
                || parameter["schema"]["type"][0] == "string";
            parameter["in"] == "query" && !is_text
        };
        for parameter in parameters.filter(is_checked) {
            queries += 1;
            let name = parameter["name"].as_str().unwrap();
            let wrong = send(&method, &format!("{named}?{name}=nonsense"), b"");
            is_error(&wrong, 400, "invalid");
            assert!(
                wrong.body["message"].as_str().unwrap().contains(name),
                "{wrong:?}"
            );
        }
        if named != path {
            let undecodable = named.replace("nobody", "%ff").replace("nothing", "%ff");
            let wrong = send(&method, &undecodable, b"{}");
            assert!(
                wrong.status >= 400 && wrong.body["message"].is_string(),
                "{wrong:?}"
            );
        }
    }
    assert!(bodies >= 8 && queries >= 3, "{bodies} {queries}");
    assert!(
        host.networks()
            .iter()
            .any(|network| network.name == "bridge")
    );
}

#[track_caller]
fn is_error(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(
        (reply.status, &reply.body["kind"]),
        (status, &kind.into()),
        "{reply:?}"
    );
    let message = reply.body["message"].as_str().unwrap();
    assert!(!message.is_empty() && !message.contains('\n'), "{reply:?}");
    assert_eq!(reply.body.as_object().unwrap().len(), 2, "{reply:?}");
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
