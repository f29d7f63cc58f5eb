//! The manifests are what the API server takes: nothing is misspelt, nothing is in the wrong place.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folders() -> Vec<PathBuf> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let folders = std::fs::read_dir(manifests).unwrap().flatten();
    folders.map(|folder| folder.path()).collect()
}

/// Every document of every manifest, with the file it is in.
fn documents() -> Vec<(PathBuf, Value)> {
    let files = folders().into_iter().flat_map(|folder| {
        let files = std::fs::read_dir(folder).unwrap().flatten();
        files.map(|file| file.path()).collect::<Vec<_>>()
    });
    let manifests = files.filter(|file| {
        let name = file.file_name().unwrap_or_default();
        name != "kustomization.yaml" && name.to_string_lossy().ends_with(".yaml")
    });
    let mut all = Vec::new();
    for file in manifests {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            all.push((file.clone(), Value::deserialize(document).unwrap()));
        }
    }
    all
}

/// What a value is once the API's own types have read it: what they do not know is gone.
fn round_trip<T: DeserializeOwned + serde::Serialize>(value: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

fn as_the_api_reads_it(value: &Value) -> Result<Value, String> {
    let what = (value["apiVersion"].as_str(), value["kind"].as_str());
    match (what.0.unwrap_or_default(), what.1.unwrap_or_default()) {
        ("v1", "Service") => round_trip::<Service>(value),
        ("v1", "Secret") => round_trip::<Secret>(value),
        ("v1", "ServiceAccount") => round_trip::<ServiceAccount>(value),
        ("v1", "Namespace") => round_trip::<Namespace>(value),
        ("apps/v1", "StatefulSet") => round_trip::<StatefulSet>(value),
        ("batch/v1", "Job") => round_trip::<Job>(value),
        ("policy/v1", "PodDisruptionBudget") => round_trip::<PodDisruptionBudget>(value),
        ("rbac.authorization.k8s.io/v1", "Role") => round_trip::<Role>(value),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => round_trip::<RoleBinding>(value),
        (version, kind) => Err(format!("no manifest may have a {version} {kind}")),
    }
}

/// Where something that was written is not read.
fn lost(written: &Value, read: &Value, path: &str) -> Vec<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written
            .iter()
            .flat_map(|(name, value)| {
                let path = format!("{path}.{name}");
                // An empty object may be left out.
                match read.get(name) {
                    Some(read) => lost(value, read, &path),
                    None => vec![path],
                }
            })
            .collect(),
        (Value::Array(written), Value::Array(read)) if written.len() == read.len() => {
            let pairs = written.iter().zip(read).enumerate();
            pairs
                .flat_map(|(at, (written, read))| lost(written, read, &format!("{path}[{at}]")))
                .collect()
        }
        (written, read) if written == read => Vec::new(),
        _ => vec![format!("{path} is {written} and was read as {read}")],
    }
}

#[test]
fn the_api_knows_every_field_of_every_manifest() {
    let documents = documents();
    assert!(documents.len() >= 14, "{} documents", documents.len());
    for (file, document) in documents {
        let read = as_the_api_reads_it(&document)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let lost = lost(&document, &read, "");
        assert!(lost.is_empty(), "{}: {lost:?}", file.display());
    }
}

#[test]
fn a_misspelt_field_and_a_wrong_type_are_found() {
    let (_, set) = documents()
        .into_iter()
        .find(|(_, document)| document["kind"] == "StatefulSet")
        .unwrap();
    let mut misspelt = set.clone();
    misspelt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = Value::Null;
    let read = as_the_api_reads_it(&misspelt).unwrap();
    assert_eq!(
        lost(&misspelt, &read, ""),
        [".spec.template.spec.containers[0].readynessProbe"]
    );
    let mut wrong = set;
    wrong["spec"]["replicas"] = Value::from("three");
    assert!(as_the_api_reads_it(&wrong).is_err());
}
