//! The schemas beside the documentation are those that are printed, and they
//! say yes to what hostfw accepts and no to what is misspelt.

use std::{fs, path::Path};

use hostfw_policy::{
    Severity, Source,
    complaint::Report,
    read_enforceable,
    text::{self, Node, Value as Yaml},
};
use serde_json::{Map, Value};

use super::{KINDS, every_kind, of_kind};

#[test]
fn the_schemas_in_the_documentation_are_those_that_are_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let mut all = vec![("policies".to_owned(), every_kind())];
    all.extend(KINDS.iter().map(|(kind, _)| ((*kind).to_owned(), of_kind(kind))));
    for (name, schema) in all {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        let file = folder.join(format!("{name}.schema.json"));
        expect_test::expect_file![file].assert_eq(&text);
    }
}

#[test]
fn whatever_is_accepted_fits_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders: Vec<_> = fs::read_dir(root.join("tests/policies"))
        .expect("the cases are part of the repository")
        .map(|entry| entry.expect("readable").path())
        .collect();
    folders.push(root.join("tests/fuzz/corpus/policies"));
    let mut n_documents = 0;
    for file in folders.iter().flat_map(|folder| fs::read_dir(folder).expect("readable")) {
        let path = file.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.starts_with("world") || name == "node.yaml" || name == "expected.txt" {
            continue;
        }
        let source = Source::new(name, fs::read(&path).expect("readable"));
        let (_, complaints) = read_enforceable(std::slice::from_ref(&source));
        if complaints.iter().any(|one| one.severity == Severity::Error) {
            continue;
        }
        let mut report = Report::new(&source);
        for document in text::documents(&mut report) {
            let document = json(&document);
            if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
                continue;
            }
            n_documents += 1;
            let faults = faults(&every_kind(), &document);
            assert!(faults.is_empty(), "{}: {faults:#?}", path.display());
        }
    }
    assert!(n_documents > 60, "only {n_documents} documents");
}

#[test]
fn what_is_misspelt_does_not_fit_the_schema() {
    let document = |spec: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
        )
    };
    for spec in [
        "{nodeSelector: {}, ingres: [{}]}",
        "{nodeSelector: {}, ingress: [{fromCidr: [10.0.0.0/8]}]}",
        "{nodeSelector: {}, ingress: [{toPorts: [{port: \"80\"}]}]}",
        "{nodeSelector: {}, ingress: [{toPorts: [{ports: [{port: 80}]}]}]}",
        "{nodeSelector: {}, ingress: [{fromEntities: [internet]}]}",
        "{nodeSelector: {}, ingress: [{fromEndpoints: {}}]}",
        "{nodeSelector: {}, ingress: [{toEndpoints: [{}]}]}",
        "{nodeSelector: {matchLabel: {a: b}}, ingress: [{}]}",
        "{nodeSelector: {}, ingressDeny: [{toPorts: [{ports: [], rules: {http: [{}]}}]}]}",
    ] {
        let source = Source::new("p.yaml", document(spec));
        let mut report = Report::new(&source);
        let documents = text::documents(&mut report);
        let faults = faults(&every_kind(), &json(&documents[0]));
        assert!(!faults.is_empty(), "{spec}");
    }
}

/// YAML as JSON has it.
fn json(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Text(text) => Value::String(text.clone()),
        Yaml::Truth(truth) => Value::Bool(*truth),
        Yaml::Number(text) => serde_json::from_str(text).unwrap_or(Value::from(1.5)),
        Yaml::List(items) => Value::Array(items.iter().map(json).collect()),
        Yaml::Map(entries) => {
            let pairs = entries.iter().map(|entry| (entry.key.clone(), json(&entry.value)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// What of the used parts of JSON Schema a value does not keep.
fn faults(root: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(root, root, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").expect("a definition");
        return check(root, &root["$defs"][name], value, at, found);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let each: Vec<Vec<String>> = any
            .iter()
            .map(|one| {
                let mut found = Vec::new();
                check(root, one, value, at, &mut found);
                found
            })
            .collect();
        if !each.iter().any(Vec::is_empty) {
            found.extend(each.into_iter().min_by_key(Vec::len).unwrap_or_default());
        }
        return;
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        found.push(format!("{at}: not {}", schema["const"]));
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        found.push(format!("{at}: {value} is none of {known:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_kind = match &schema["type"] {
        Value::String(wanted) => wanted == kind,
        Value::Array(wanted) => wanted.iter().any(|wanted| wanted == kind),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
    };
    // A field that is `null` counts as missing everywhere.
    if !is_kind && !value.is_null() {
        found.push(format!("{at}: {kind}, not {}", schema["type"]));
        return;
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        check(root, &schema["items"], item, &format!("{at}[{number}]"), found);
    }
    let Some(entries) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !entries.contains_key(name.as_str().expect("a name")) {
            found.push(format!("{at}: no {name}"));
        }
    }
    for (key, value) in entries {
        match (&schema["properties"][key.as_str()], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(format!("{at}: no field {key}")),
            (Value::Null, other) => check(root, other, value, &format!("{at}.{key}"), found),
            (property, _) => check(root, property, value, &format!("{at}.{key}"), found),
        }
    }
}
