//! What is asked of the API server, against one that keeps a StatefulSet in memory and refuses what
//! the manifests' roles do not allow. Commands in containers are left out: they need a WebSocket.
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

use super::*;
use crate::cases::world::PODS;
use kube::client::Body;
use serde::de::Deserialize;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// A namespace with the StatefulSet, and cluster DNS.
#[derive(Debug, Default)]
struct State {
    pods: i32,
    /// Counted in the addresses and ids of pods, so that no two are alike.
    made: u32,
    addresses: BTreeMap<String, (u32, String)>,
    generation: i64,
    revision: u32,
    dns: i32,
    requests: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<State>>);

// === impl State ===

impl State {
    fn make(&mut self, name: &str) {
        self.made += 1;
        let address = format!("10.244.0.{}", self.made);
        self.addresses.insert(name.to_owned(), (self.made, address));
    }

    /// The StatefulSet's controller.
    fn reconcile(&mut self) {
        for ordinal in 0..8 {
            let name = format!("{NAME}-{ordinal}");
            let there = self.addresses.contains_key(&name);
            if ordinal < self.pods && !there {
                self.make(&name);
            } else if ordinal >= self.pods {
                self.addresses.remove(&name);
            }
        }
    }

    fn pod(&self, name: &str) -> Value {
        let (id, address) = &self.addresses[name];
        json!({
            "metadata": {"name": name, "uid": id.to_string(), "labels": {"app": NAME}},
            "status": {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    fn set(&self) -> Value {
        let revision = format!("mysql-{}", self.revision);
        json!({
            "metadata": {"name": NAME, "generation": self.generation},
            "status": {
                "observedGeneration": self.generation, "replicas": self.pods,
                "readyReplicas": self.pods, "currentRevision": revision,
                "updateRevision": revision,
            },
        })
    }

    fn scale(replicas: i32) -> Value {
        json!({"metadata": {}, "spec": {"replicas": replicas}})
    }

    fn answer(&mut self, method: &str, path: &[&str], body: &Value) -> Value {
        let wanted = body["spec"]["replicas"].as_i64();
        let wanted = wanted.and_then(|wanted| i32::try_from(wanted).ok());
        match (method, path) {
            ("GET", ["default", "pods"]) => {
                let items: Vec<Value> = self.addresses.keys().map(|pod| self.pod(pod)).collect();
                json!({"metadata": {}, "items": items})
            }
            ("GET", ["default", "pods", name]) => self.pod(name),
            ("DELETE", ["default", "pods", name]) => {
                let ended = self.pod(name);
                self.addresses.remove(*name);
                self.reconcile();
                ended
            }
            ("GET", ["default", "statefulsets", NAME]) => self.set(),
            ("PATCH", ["default", "statefulsets", NAME]) => {
                let annotations = &body["spec"]["template"]["metadata"]["annotations"];
                assert!(annotations["kubectl.kubernetes.io/restartedAt"].is_string());
                self.generation += 1;
                self.revision += 1;
                self.addresses.clear();
                self.reconcile();
                self.set()
            }
            ("PATCH", ["default", "statefulsets", NAME, "scale"]) => {
                self.pods = wanted.unwrap();
                self.generation += 1;
                self.reconcile();
                Self::scale(self.pods)
            }
            ("GET", [DNS_NAMESPACE, "deployments", DNS_DEPLOYMENT, "scale"]) => {
                Self::scale(self.dns)
            }
            ("PATCH", [DNS_NAMESPACE, "deployments", DNS_DEPLOYMENT, "scale"]) => {
                self.dns = wanted.unwrap();
                Self::scale(self.dns)
            }
            ("GET", [DNS_NAMESPACE, "pods"]) => {
                let items = (0..self.dns).map(|_| json!({"metadata": {"name": "coredns"}}));
                json!({"metadata": {}, "items": items.collect::<Vec<_>>()})
            }
            other => panic!("no such thing: {other:?}"),
        }
    }
}

// === impl Told ===

impl Told {
    pub(super) fn look_up(&self, name: &str) -> BTreeSet<IpAddr> {
        let state = self.0.lock().unwrap();
        let zone = format!("{NAME}.default.svc.example.org.");
        let one = name.strip_suffix(&format!(".{zone}"));
        assert!(name == zone || one.is_some(), "asked for {name}");
        let pods = state.addresses.iter().filter(|_| state.dns > 0);
        let pods = pods.filter(|(pod, _)| one.is_none_or(|one| one == pod.as_str()));
        pods.map(|(_, (_, address))| address.parse().unwrap())
            .collect()
    }
}

/// Whether a role of the suite's manifest allows it.
fn allowed(namespace: &str, resource: &str, verb: &str, name: Option<&str>) -> bool {
    let text = include_str!("../../manifests/suite/rbac.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let documents = documents.map(|document| Value::deserialize(document).unwrap());
    let mut role = documents.filter(|document| {
        document["kind"] == "Role" && document["metadata"]["namespace"] == namespace
    });
    let has = |list: &Value, wanted: &str| {
        let mut list = list.as_array().into_iter().flatten();
        list.any(|one| one == wanted)
    };
    let role = role.next().unwrap();
    let mut rules = role["rules"].as_array().unwrap().iter();
    rules.any(|rule| {
        let named = rule.get("resourceNames");
        has(&rule["resources"], resource)
            && has(&rule["verbs"], verb)
            && named.is_none_or(|names| name.is_some_and(|name| has(names, name)))
    })
}

async fn world() -> (ClusterWorld, Told) {
    let told = Told::default();
    {
        let mut state = told.0.lock().unwrap();
        (state.pods, state.dns) = (3, 2);
        state.reconcile();
    }
    let api = told.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let api = api.clone();
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_owned();
            let path = path.split_once("/namespaces/").unwrap().1;
            let path: Vec<&str> = path.split('/').collect();
            let resource = match path.get(3) {
                Some(part) => format!("{}/{part}", path[1]),
                None => path[1].to_owned(),
            };
            let verb = match (parts.method.as_str(), path.len()) {
                ("GET", 2) => "list",
                ("GET", _) => "get",
                ("PATCH", _) => "patch",
                ("DELETE", _) => "delete",
                other => panic!("{other:?}"),
            };
            let name = path.get(2).copied();
            assert!(
                allowed(path[0], &resource, verb, name),
                "{verb} {resource} {name:?} in {} is not allowed",
                path[0]
            );
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let mut state = api.0.lock().unwrap();
            state.requests.push(format!("{verb} {resource}"));
            let answer = state.answer(parts.method.as_str(), &path, &body);
            let answer = Body::from(serde_json::to_vec(&answer).unwrap());
            Ok::<_, Infallible>(http::Response::new(answer))
        }
    });
    let world = ClusterWorld {
        namespace: "default".to_owned(),
        zone: "example.org".to_owned(),
        seat: Seat::Same,
        password: "secret".to_owned(),
        client: Client(kube::Client::new(service, "default")),
        names: Names::Told(told.clone()),
        dns_replicas: AtomicI32::new(0),
    };
    (world, told)
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_waited_for_at_its_new_address() {
    let (world, _) = world().await;
    let before = world.addresses().await.unwrap();
    assert_eq!(before.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let replaced = world.delete_pod(1).await.unwrap();
    let after = world.addresses().await.unwrap();
    assert_eq!(after[&1], replaced.address);
    assert_ne!(after[&1], before[&1]);
    assert_eq!((after[&0], after[&2]), (before[&0], before[&2]));
}

#[tokio::test(start_paused = true)]
async fn scaling_and_restarting_end_when_dns_has_the_new_pods() {
    let (world, told) = world().await;
    world.scale(5).await.unwrap();
    assert_eq!(world.addresses().await.unwrap().len(), 5);
    world.scale(2).await.unwrap();
    assert_eq!(world.addresses().await.unwrap().len(), 2);
    world.scale(PODS).await.unwrap();
    let before = world.addresses().await.unwrap();
    world.rolling_restart().await.unwrap();
    let after = world.addresses().await.unwrap();
    assert!(before.iter().all(|(pod, address)| after[pod] != *address));
    assert_eq!(told.look_up("mysql.default.svc.example.org.").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn dns_comes_back_with_as_many_servers_as_it_had() {
    let (world, told) = world().await;
    world.set_dns(false).await.unwrap();
    assert!(world.look_up(NAME).await.is_empty());
    // What a case that failed leaves.
    world.restore().await.unwrap();
    assert_eq!(told.0.lock().unwrap().dns, 2);
    assert_eq!(world.look_up(NAME).await.len(), 3);
    let requests = told.0.lock().unwrap().requests.clone();
    assert!(requests.contains(&"patch deployments/scale".to_owned()));
}

#[test]
fn the_roles_allow_nothing_else() {
    assert!(allowed("default", "pods", "delete", Some("mysql-0")));
    assert!(!allowed("default", "pods", "delete", Some("another")));
    assert!(!allowed("default", "secrets", "get", Some("mysql")));
    assert!(!allowed("default", "statefulsets", "delete", Some("mysql")));
    assert!(!allowed(
        DNS_NAMESPACE,
        "deployments/scale",
        "patch",
        Some("another")
    ));
}

#[test]
fn the_zone_is_that_of_the_search_list() {
    let resolv_conf = "search elsewhere.svc.example.org svc.example.org example.org lan\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
    assert_eq!(zone(resolv_conf).as_deref(), Some("example.org"));
    assert_eq!(zone("nameserver 1.1.1.1\nsearch lan\n"), None);
}

fn pod(text: serde_json::Value) -> Pod {
    serde_json::from_value(text).unwrap()
}

#[test]
fn a_pod_is_ready_by_its_condition_and_until_it_is_deleted() {
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.1.2.3"});
    let named = json!({"name": "mysql-12"});
    let one = pod(json!({"metadata": named, "status": ready}));
    assert!(is_ready(&one));
    assert_eq!(ordinal(&one), Some(12));
    assert_eq!(address(&one), Some([10, 1, 2, 3].into()));

    let ending = json!({"name": "mysql-x", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let one = pod(json!({"metadata": ending, "status": ready}));
    assert!(!is_ready(&one));
    assert_eq!(ordinal(&one), None);
}
