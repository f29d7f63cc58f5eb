//! The world of a real cluster, through the API server.
//!
//! Owns what is asked of the API and of cluster DNS. It must never ask the crate under test: what
//! DNS shows is looked up by the system's own resolver. Needs the rights that
//! `manifests/suite/rbac.yaml` gives, and no other.

#[cfg(test)]
mod tests;

use crate::cases::deployed::{
    DATABASE, DNS_DEPLOYMENT, DNS_NAMESPACE, DNS_PODS, NAME, OUT_OF_SERVICE, PASSWORD, PORT, USER,
};
use crate::cases::world::{Account, Failure, Outcome, Pace, Replaced, Seat, World, eventually};
use headless_mysql::Config;
use headless_mysql::discovery::DnsResolver;
use headless_mysql::name::ServiceName;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep};

/// Between two questions to the API server.
const POLL: Duration = Duration::from_millis(250);

/// First boots, rolls and drains all take minutes.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct ClusterWorld {
    namespace: String,
    zone: String,
    seat: Seat,
    password: String,
    client: Client,
    names: Names,
    /// How many DNS servers there were before they were taken away.
    dns_replicas: AtomicI32,
}

/// Who knows what DNS shows.
#[derive(Debug)]
enum Names {
    /// The system's own resolver.
    System,
    #[cfg(test)]
    Told(tests::Told),
}

/// Without the client's own `Debug`, which is none.
struct Client(kube::Client);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The zone of the cluster, from the search list that the kubelet has written.
fn zone(resolv_conf: &str) -> Option<String> {
    let lines = resolv_conf.lines();
    let mut domains = lines
        .filter_map(|line| line.strip_prefix("search"))
        .flat_map(str::split_whitespace);
    let zone = domains.find_map(|domain| domain.strip_prefix("svc."))?;
    Some(zone.trim_end_matches('.').to_owned())
}

/// The ordinal in the name of a pod of the StatefulSet.
fn ordinal(pod: &Pod) -> Option<u32> {
    let name = pod.metadata.name.as_deref()?;
    name.strip_prefix(NAME)?.strip_prefix('-')?.parse().ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|conditions| {
            let mut ready = conditions.iter();
            ready.any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

// === impl ClusterWorld ===

impl ClusterWorld {
    pub(crate) async fn connect(namespace: String, seat: Seat) -> Result<Self, Failure> {
        let password = std::env::var(PASSWORD).map_err(|_| format!("{PASSWORD} is not set"))?;
        let resolv_conf = std::fs::read_to_string("/etc/resolv.conf")?;
        let zone = zone(&resolv_conf).ok_or("resolv.conf is not that of a pod")?;
        let client = kube::Client::try_default().await?;
        let world = Self {
            namespace,
            zone,
            seat,
            password,
            client: Client(client),
            names: Names::System,
            dns_replicas: AtomicI32::new(0),
        };
        world.settled(crate::cases::world::PODS).await?;
        Ok(world)
    }

    /// As a case finds it, whatever the last one left: three pods in service, and DNS.
    pub(crate) async fn restore(&self) -> Outcome {
        let away = self.dns_replicas.load(Ordering::Relaxed);
        if away > 0 {
            self.set_dns(true).await?;
        }
        let all = ListParams::default().labels(&format!("app={NAME}"));
        for pod in self.pods().list(&all).await?.items {
            if let Some(ordinal) = ordinal(&pod).filter(|_| !is_ready(&pod)) {
                // One that does not run cannot be asked, and has no such file either.
                let _ = self.out_of_service(ordinal, "rm").await;
            }
        }
        self.scale(crate::cases::world::PODS).await
    }

    async fn out_of_service(&self, ordinal: u32, program: &str) -> Outcome {
        let name = Self::pod_name(ordinal);
        let attached = AttachParams::default().stdout(false).stderr(true);
        let mut process = self
            .pods()
            .exec(&name, [program, OUT_OF_SERVICE], &attached)
            .await?;
        let status = process.take_status().ok_or("no status of the command")?;
        let status = status.await.ok_or("the command did not end")?;
        ensure!(
            status.status.as_deref() == Some("Success"),
            "{program} on {name}: {:?}",
            status.message
        );
        Ok(process.join().await?)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.0.clone(), &self.namespace)
    }

    fn sets(&self) -> Api<StatefulSet> {
        Api::namespaced(self.client.0.clone(), &self.namespace)
    }

    fn dns(&self) -> Api<Deployment> {
        Api::namespaced(self.client.0.clone(), DNS_NAMESPACE)
    }

    fn pod_name(ordinal: u32) -> String {
        format!("{NAME}-{ordinal}")
    }

    /// What DNS has for a name below the Service's zone, or nothing.
    async fn look_up(&self, name: &str) -> BTreeSet<IpAddr> {
        let name = format!("{name}.{}.svc.{}.", self.namespace, self.zone);
        match &self.names {
            Names::System => match lookup_host((name, PORT)).await {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(_) => BTreeSet::new(),
            },
            #[cfg(test)]
            Names::Told(told) => told.look_up(&name),
        }
    }

    /// Waits until the API server has `pods` ready pods of the newest revision, and DNS lists them.
    async fn settled(&self, pods: u32) -> Outcome {
        let wanted = i32::try_from(pods)?;
        eventually("the StatefulSet is as it was told", PATIENCE, async || {
            sleep(POLL).await;
            let set = self.sets().get(NAME).await?;
            let status = set.status.unwrap_or_default();
            Ok(status.observed_generation == set.metadata.generation
                && status.replicas == wanted
                && status.ready_replicas == Some(wanted)
                && status.current_revision == status.update_revision)
        })
        .await?;
        self.listed().await
    }

    /// Waits until DNS has the ready pods and no others.
    async fn listed(&self) -> Outcome {
        eventually("DNS lists what is ready", PATIENCE, async || {
            let ready: BTreeSet<IpAddr> = self.addresses().await?.into_values().collect();
            sleep(POLL).await;
            Ok(self.look_up(NAME).await == ready)
        })
        .await?;
        Ok(())
    }
}

impl World for ClusterWorld {
    fn pace(&self) -> Pace {
        Pace {
            patience: PATIENCE,
            outage: Duration::from_secs(30),
        }
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn service(&self) -> &str {
        NAME
    }

    fn zone(&self) -> &str {
        &self.zone
    }

    fn account(&self) -> Account<'_> {
        Account {
            user: USER,
            password: &self.password,
            database: DATABASE,
            port: PORT,
        }
    }

    /// With nothing but what an application has to say: name servers and search list are the pod's.
    fn config(&self, seat: Seat, name: &str) -> Config {
        debug_assert_eq!(seat, self.seat);
        Config::new(name, USER)
            .with_password(self.password.as_str())
            .with_database(DATABASE)
    }

    fn resolver(&self, seat: Seat, name: &str) -> Result<DnsResolver, Failure> {
        debug_assert_eq!(seat, self.seat);
        Ok(DnsResolver::builder(name.parse::<ServiceName>()?).build()?)
    }

    async fn addresses(&self) -> Result<BTreeMap<u32, IpAddr>, Failure> {
        let all = ListParams::default().labels(&format!("app={NAME}"));
        let pods = self.pods().list(&all).await?;
        let ready = pods.items.iter().filter(|pod| is_ready(pod));
        Ok(ready
            .filter_map(|pod| Some((ordinal(pod)?, address(pod)?)))
            .collect())
    }

    async fn delete_pod(&self, ordinal: u32) -> Result<Replaced, Failure> {
        let name = Self::pod_name(ordinal);
        let old = self.pods().get(&name).await?;
        let before = address(&old).ok_or("the pod has no address")?;
        let ended = Instant::now();
        self.pods().delete(&name, &DeleteParams::default()).await?;
        let mut shown = None;
        let what = format!("DNS has the successor of {name}");
        eventually(&what, PATIENCE, async || {
            let found = self.look_up(&format!("{name}.{NAME}")).await;
            let new = found.into_iter().find(|address| *address != before);
            shown = new.map(|address| (address, Instant::now()));
            sleep(Duration::from_millis(50)).await;
            Ok(shown.is_some())
        })
        .await?;
        let (address, shown) = shown.ok_or(what)?;
        self.settled(crate::cases::world::PODS).await?;
        Ok(Replaced {
            ended,
            shown,
            address,
        })
    }

    async fn scale(&self, pods: u32) -> Outcome {
        let scale = Patch::Merge(json!({"spec": {"replicas": pods}}));
        let by = PatchParams::default();
        self.sets().patch_scale(NAME, &by, &scale).await?;
        self.settled(pods).await
    }

    async fn rolling_restart(&self) -> Outcome {
        let before = self.sets().get(NAME).await?;
        let before = before.status.and_then(|status| status.update_revision);
        // What `kubectl rollout restart` does, with another text in it each time.
        let stamp = format!("{:016x}", rand::random::<u64>());
        let restart = json!({"spec": {"template": {"metadata": {"annotations": {
            "kubectl.kubernetes.io/restartedAt": stamp
        }}}}});
        let by = PatchParams::default();
        self.sets().patch(NAME, &by, &Patch::Merge(restart)).await?;
        eventually("the restart has begun", PATIENCE, async || {
            sleep(POLL).await;
            let status = self.sets().get(NAME).await?.status.unwrap_or_default();
            Ok(status.update_revision != before)
        })
        .await?;
        self.settled(crate::cases::world::PODS).await
    }

    async fn set_ready(&self, ordinal: u32, ready: bool) -> Outcome {
        let program = if ready { "rm" } else { "touch" };
        self.out_of_service(ordinal, program).await?;
        let name = Self::pod_name(ordinal);
        let what = format!("DNS knows of {name}");
        let full = format!("{name}.{NAME}");
        eventually(&what, PATIENCE, async || {
            sleep(POLL).await;
            Ok(self.look_up(&full).await.is_empty() != ready)
        })
        .await?;
        Ok(())
    }

    async fn set_dns(&self, there: bool) -> Outcome {
        let by = PatchParams::default();
        let dns = self.dns();
        let wanted = if there {
            self.dns_replicas.load(Ordering::Relaxed)
        } else {
            let scale = dns.get_scale(DNS_DEPLOYMENT).await?;
            let now = scale.spec.and_then(|spec| spec.replicas);
            let now = now
                .filter(|now| *now > 0)
                .ok_or("there is no DNS to stop")?;
            self.dns_replicas.store(now, Ordering::Relaxed);
            0
        };
        let scale = Patch::Merge(json!({"spec": {"replicas": wanted}}));
        dns.patch_scale(DNS_DEPLOYMENT, &by, &scale).await?;
        let pods: Api<Pod> = Api::namespaced(self.client.0.clone(), DNS_NAMESPACE);
        let all = ListParams::default().labels(DNS_PODS);
        eventually("DNS is as it was told", PATIENCE, async || {
            sleep(POLL).await;
            if there {
                return Ok(!self.look_up(NAME).await.is_empty());
            }
            Ok(pods.list(&all).await?.items.is_empty())
        })
        .await?;
        Ok(())
    }
}
