//! The manifests against each other and against the code: names, ports, selectors, files.

use crate::deployed::{
    DATABASE, DNS_DEPLOYMENT, DNS_NAMESPACE, NAME, OUT_OF_SERVICE, PASSWORD, PORT, USER,
};
use crate::repository;
use serde_yaml_ng::{Deserializer, Value};
use std::collections::BTreeSet;
use std::fs;

const BASE: &str = "tests/kind/manifests/base";

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn documents(path: &str) -> Vec<Value> {
    let text = read(path);
    let documents = Deserializer::from_str(&text);
    let documents = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
    documents.collect()
}

fn document(path: &str) -> Value {
    documents(path).remove(0)
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value:?} is no text"))
}

fn texts(value: &Value) -> Vec<&str> {
    let all = value.as_sequence().into_iter().flatten();
    all.map(text).collect()
}

fn list(value: &Value) -> &[Value] {
    value
        .as_sequence()
        .unwrap_or_else(|| panic!("{value:?} is no list"))
}

fn service() -> Value {
    document(&format!("{BASE}/service.yaml"))
}

fn set() -> Value {
    document(&format!("{BASE}/statefulset.yaml"))
}

fn container(set: &Value) -> Value {
    let containers = list(&set["spec"]["template"]["spec"]["containers"]);
    assert_eq!(containers.len(), 1);
    containers[0].clone()
}

fn script(name: &str) -> String {
    read(&format!("{BASE}/scripts/{name}"))
}

#[test]
fn the_service_is_headless_with_one_unnamed_port_which_is_the_crates_default() {
    let service = service();
    assert_eq!(service["metadata"]["name"], NAME);
    assert_eq!(service["spec"]["clusterIP"], "None");
    let ports = list(&service["spec"]["ports"]);
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0]["port"], u64::from(PORT));
    assert!(
        ports[0].get("name").is_none(),
        "a name changes what DNS has"
    );
    let default = format!("{:?}", headless_mysql::Config::new(NAME, USER));
    assert!(default.contains(&format!("port: {PORT},")), "{default}");
    assert_eq!(
        container(&set())["ports"][0]["containerPort"],
        ports[0]["port"]
    );
    assert!(script("lib.sh").contains(&format!("SOURCE_PORT={PORT},")));
    assert!(script("lib.sh").contains(&format!("MASTER_PORT={PORT},")));
}

#[test]
fn selectors_labels_and_names_agree() {
    let (service, set) = (service(), set());
    let disruption = document(&format!("{BASE}/disruption.yaml"));
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&disruption["spec"]["selector"]["matchLabels"], labels);
    // The label the suite asks the API for.
    assert_eq!(labels["app"], NAME);
    // Without this the pods have no names with ordinals in DNS.
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    // The crate takes the StatefulSet for the Service's namesake, and so do the scripts.
    assert_eq!(set["metadata"]["name"], service["metadata"]["name"]);
    assert!(script("lib.sh").contains(&format!(": \"${{SERVICE:={NAME}}}\"")));
    assert_eq!(set["spec"]["replicas"], 3);
}

#[test]
fn every_secret_key_and_variable_is_there() {
    let secret = document(&format!("{BASE}/secret.yaml"));
    assert_eq!(secret["metadata"]["name"], NAME);
    let keys = secret["stringData"].as_mapping().unwrap();
    let container = container(&set());
    let mut used = BTreeSet::new();
    let mut variables = BTreeSet::new();
    for variable in list(&container["env"]) {
        variables.insert(text(&variable["name"]).to_owned());
        let from = &variable["valueFrom"]["secretKeyRef"];
        if !from.is_null() {
            assert_eq!(from["name"], NAME);
            used.insert(text(&from["key"]).to_owned());
        }
    }
    let known: BTreeSet<String> = keys.keys().map(|key| text(key).to_owned()).collect();
    assert_eq!(used, known);
    let scripts = ["lib.sh", "seed.sh", "probe.sh"].map(script).concat();
    for variable in [
        "MYSQL_ROOT_PASSWORD",
        "REPLICATION_PASSWORD",
        "APP_PASSWORD",
        "PROBE_PASSWORD",
    ] {
        assert!(variables.contains(variable), "{variable} is not set");
        assert!(
            scripts.contains(&format!("${variable}")),
            "{variable} is not used"
        );
    }
    // Nobody but the pod itself is root.
    let root = list(&container["env"]).iter();
    let mut root = root.filter(|variable| variable["name"] == "MYSQL_ROOT_HOST");
    assert_eq!(root.next().unwrap()["value"], "localhost");
}

#[test]
fn the_account_of_the_suite_is_the_one_that_is_made() {
    let seed = script("seed.sh");
    assert!(seed.contains(&format!("CREATE DATABASE IF NOT EXISTS {DATABASE};")));
    assert!(seed.contains(&format!("CREATE USER '{USER}'@'%'")));
    assert!(seed.contains(&format!("GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';")));
    assert!(seed.contains(&format!("${PASSWORD}")));
    for folder in ["suite", "elsewhere"] {
        let job = document(&format!("tests/kind/manifests/{folder}/job.yaml"));
        let pod = &job["spec"]["template"]["spec"];
        let variable = &pod["containers"][0]["env"][0];
        assert_eq!(variable["name"], PASSWORD);
        let key = &variable["valueFrom"]["secretKeyRef"];
        assert_eq!(
            (text(&key["name"]), text(&key["key"])),
            (NAME, "app-password")
        );
    }
    let secrets = documents("tests/kind/manifests/elsewhere/namespace.yaml");
    let copy = secrets.iter().find(|document| document["kind"] == "Secret");
    let original = document(&format!("{BASE}/secret.yaml"));
    assert_eq!(
        copy.unwrap()["stringData"]["app-password"],
        original["stringData"]["app-password"]
    );
}

#[test]
fn everything_is_mounted_where_the_scripts_look() {
    let set = set();
    let container = container(&set);
    let mounts = list(&container["volumeMounts"]);
    let volumes = list(&set["spec"]["template"]["spec"]["volumes"]).iter();
    let claims = list(&set["spec"]["volumeClaimTemplates"]).iter();
    let names: Vec<&str> = volumes
        .map(|volume| text(&volume["name"]))
        .chain(claims.map(|claim| text(&claim["metadata"]["name"])))
        .collect();
    let mut paths = Vec::new();
    for mount in mounts {
        assert!(names.contains(&text(&mount["name"])), "{mount:?}");
        paths.push(text(&mount["mountPath"]));
    }
    let lib = script("lib.sh");
    for name in ["DATADIR", "STATE", "CONFIG", "CONF", "RUN"] {
        let line = format!(": \"${{{name}:=");
        let path = lib
            .lines()
            .find_map(|text| text.strip_prefix(line.as_str()));
        let path = path.unwrap().trim_end_matches("}\"");
        assert!(
            paths.contains(&path),
            "{name} is {path}, mounted are {paths:?}"
        );
    }
    assert!(OUT_OF_SERVICE.starts_with("/run/pod/"));
    assert!(script("probe.sh").contains("$RUN/out-of-service"));

    // Each script that is called is in the ConfigMap, and on the disk.
    let kustomization = document(&format!("{BASE}/kustomization.yaml"));
    let maps = list(&kustomization["configMapGenerator"]);
    let files: Vec<&str> = maps.iter().flat_map(|map| texts(&map["files"])).collect();
    for file in &files {
        let file = file.split_once('=').map_or(*file, |(_, file)| file);
        assert!(repository(BASE).join(file).is_file(), "{file}");
    }
    let hooks = [
        &container["command"],
        &container["startupProbe"]["exec"]["command"],
        &container["livenessProbe"]["exec"]["command"],
        &container["readinessProbe"]["exec"]["command"],
        &container["lifecycle"]["preStop"]["exec"]["command"],
    ];
    for hook in hooks {
        let called = texts(hook)[1].strip_prefix("/scripts/").unwrap();
        assert!(
            files.contains(&format!("scripts/{called}").as_str()),
            "{called}"
        );
    }
    let seed = mounts.iter().find(|mount| {
        let path = text(&mount["mountPath"]);
        path.starts_with("/docker-entrypoint-initdb.d/") && path.ends_with(".sh")
    });
    let seed = format!("scripts/{}", text(&seed.unwrap()["subPath"]));
    assert!(files.contains(&seed.as_str()), "{seed}");
}

#[test]
fn times_are_in_proportion() {
    let set = set();
    let seconds = |value: &Value| value.as_u64().unwrap();
    // What caches in front of cluster DNS were measured to lag.
    assert!(seconds(&set["spec"]["minReadySeconds"]) > 34);
    // The crate looks every 5 s at most; a replica must not end before.
    let hook = script("pre-stop.sh");
    let drain = hook.split_once("REPLICA_DRAIN:-").unwrap().1;
    let drain: u64 = drain.split_once('}').unwrap().0.parse().unwrap();
    assert!(drain > 2 * 5);
    // 10 s for the lock, 10 s for the shutdown of a primary on MySQL, and as much again.
    let pod = &set["spec"]["template"]["spec"];
    assert!(seconds(&pod["terminationGracePeriodSeconds"]) >= drain + 40);
}

#[test]
fn no_option_that_breaks_a_first_boot_is_in_the_configuration() {
    for file in ["base/mysql.cnf", "mariadb-11/mariadb.cnf"] {
        let text = read(&format!("tests/kind/manifests/{file}"));
        let options = text.lines().filter(|line| !line.starts_with('#'));
        let options: Vec<&str> = options
            .map(|line| line.split('=').next().unwrap().trim())
            .collect();
        for wrong in ["read_only", "super_read_only", "init_file", "server_id"] {
            assert!(!options.contains(&wrong), "{wrong} in {file}");
        }
        for wanted in ["innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin"] {
            assert!(options.contains(&wanted), "no {wanted} in {file}");
        }
    }
}

#[test]
fn the_variants_change_what_is_there() {
    for folder in [
        "base",
        "mysql-9",
        "mariadb-11",
        "app-protocol",
        "suite",
        "elsewhere",
    ] {
        let folder = repository("tests/kind/manifests").join(folder);
        let kustomization = folder.join("kustomization.yaml");
        let text_of = fs::read_to_string(&kustomization).unwrap();
        let kustomization: Value = serde_yaml_ng::from_str(&text_of).unwrap();
        for resource in texts(&kustomization["resources"]) {
            assert!(folder.join(resource).exists(), "{resource}");
        }
        let images = kustomization["images"].as_sequence().into_iter().flatten();
        for image in images {
            let container = container(&set());
            let deployed = text(&container["image"]).split(':').next();
            assert_eq!(deployed, image["name"].as_str());
        }
        let maps = kustomization["configMapGenerator"].as_sequence();
        for file in maps
            .into_iter()
            .flatten()
            .flat_map(|map| texts(&map["files"]))
        {
            let file = file.split_once('=').map_or(file, |(_, file)| file);
            assert!(folder.join(file).is_file(), "{file}");
        }
    }
    let patch = read("tests/kind/manifests/app-protocol/kustomization.yaml");
    assert!(patch.contains("path: /spec/ports/0/appProtocol"));
    // What the command replaces by the image that is asked for.
    let run = read("tests/kind/run");
    assert!(run.contains("variant=base written=mysql:8.4"));
    assert_eq!(container(&set())["image"], "mysql:8.4");
}

#[test]
fn the_suite_may_do_what_it_does_and_no_more() {
    let all = documents("tests/kind/manifests/suite/rbac.yaml");
    let rules = |namespace: &str| -> Vec<(Vec<String>, Vec<String>, Vec<String>)> {
        let role = all.iter().find(|document| {
            document["kind"] == "Role" && document["metadata"]["namespace"] == namespace
        });
        let owned = |value: &Value| texts(value).into_iter().map(str::to_owned).collect();
        let rules = list(&role.unwrap()["rules"]).iter();
        rules
            .map(|rule| {
                (
                    owned(&rule["resources"]),
                    owned(&rule["resourceNames"]),
                    owned(&rule["verbs"]),
                )
            })
            .collect()
    };
    let pods: Vec<String> = (0..5).map(|ordinal| format!("{NAME}-{ordinal}")).collect();
    for (resources, names, verbs) in rules("default") {
        let changes = verbs
            .iter()
            .any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
        if resources == ["pods"] && changes {
            assert_eq!((names, verbs), (pods.clone(), vec!["delete".to_owned()]));
        } else if resources == ["pods/exec"] {
            assert_eq!(names, pods);
        } else if changes {
            assert_eq!(resources, ["statefulsets", "statefulsets/scale"]);
            assert_eq!(names, [NAME]);
        }
    }
    for (_, names, verbs) in rules(DNS_NAMESPACE) {
        if verbs.contains(&"patch".to_owned()) {
            assert_eq!(names, [DNS_DEPLOYMENT]);
        }
    }
    let job = document("tests/kind/manifests/suite/job.yaml");
    let pod = &job["spec"]["template"]["spec"];
    let account = all
        .iter()
        .find(|document| document["kind"] == "ServiceAccount");
    assert_eq!(
        pod["serviceAccountName"],
        account.unwrap()["metadata"]["name"]
    );
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);

    let image = text(&pod["containers"][0]["image"]);
    assert!(read("tests/kind/run").contains(&format!("readonly runner={image}")));
    assert_eq!(pod["containers"][0]["imagePullPolicy"], "Never");
    let dockerfile = read("tests/kind/Dockerfile");
    let user = format!(
        "USER {0}:{0}",
        pod["securityContext"]["runAsUser"].as_u64().unwrap()
    );
    assert!(dockerfile.contains(&user), "{user}");
    assert!(dockerfile.contains(r#"ENTRYPOINT ["/usr/local/bin/kind-suite"]"#));
}
