//! The world without Kubernetes: servers and a cluster DNS on this machine.
//!
//! Owns what the control plane would do to servers and DNS, in the same order, only faster. It must
//! never be kinder than a cluster: a pod that ends leaves DNS first, and its successor has another
//! address.

use crate::cases::world::{Account, Failure, Outcome, PODS, Pace, Replaced, Seat, World};
use crate::staged::Staged as _;
use headless_mysql::Config;
use headless_mysql::discovery::DnsResolver;
use headless_mysql::name::{SearchList, ServiceName};
use headless_mysql_testkit::dns::{Fault, Readiness};
use headless_mysql_testkit::lab::{Lab, ServerKind};
use headless_mysql_testkit::stage::Stage;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const NAMESPACE: &str = "default";
const ELSEWHERE: &str = "elsewhere";
const ZONE: &str = "cluster.local";

/// How often the application looks: 5 s at most where time is that of a cluster. All times here are
/// in the proportion that the manifests have.
const REFRESH: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Between the end of a pod in DNS and the end of its server: the `preStop` hook. Longer than
/// [`REFRESH`], or clients meet servers that are about to end.
const PRE_STOP: Duration = Duration::from_millis(800);

/// Between a pod that is ready and the next one's end: `minReadySeconds`.
const MIN_READY: Duration = Duration::from_millis(1500);

#[derive(Debug)]
pub(crate) struct LabWorld {
    stage: Stage,
    unready: Mutex<BTreeSet<u32>>,
}

// === impl LabWorld ===

impl LabWorld {
    pub(crate) async fn start(kind: ServerKind) -> Result<Self, Failure> {
        let lab = Lab::builder().server(kind).replicas(PODS - 1);
        let stage = Stage::with(lab).await?;
        // The cases tell pods apart by what their servers are called.
        ensure!(
            stage.lab.own_hostnames(),
            "this machine gives servers no host names of their own (UTS namespaces)"
        );
        Ok(Self {
            stage,
            unready: Mutex::default(),
        })
    }

    /// The search list of a pod, as the kubelet writes it.
    fn search(seat: Seat) -> [String; 3] {
        let namespace = match seat {
            Seat::Same => NAMESPACE,
            Seat::Elsewhere => ELSEWHERE,
        };
        [
            format!("{namespace}.svc.{ZONE}"),
            format!("svc.{ZONE}"),
            ZONE.to_owned(),
        ]
    }

    /// The controllers see that the pod is being deleted, and its hook runs.
    async fn terminate(&self, ordinal: u32) -> Outcome {
        let stage = &self.stage;
        stage.dns.set_readiness(
            NAMESPACE,
            stage.service(),
            &stage.lab.pod_name(ordinal),
            Readiness::Terminating,
        )?;
        if ordinal == 0 {
            stage.lab.set_read_only(0, true).await?;
        }
        sleep(PRE_STOP).await;
        Ok(())
    }

    async fn replace(&self, ordinal: u32) -> Result<Replaced, Failure> {
        let ended = Instant::now();
        self.terminate(ordinal).await?;
        self.stage.lab.stop(ordinal).await?;
        let address = self.stage.lab.fresh_address()?;
        self.stage.lab.start_at(ordinal, address).await?;
        // Its readiness does not wait for replication.
        self.stage.publish();
        let shown = Instant::now();
        if ordinal == 0 {
            // Replicas find the primary by its name, as soon as that has the new address.
            self.stage.lab.repoint_replicas().await?;
        }
        Ok(Replaced {
            ended,
            shown,
            address,
        })
    }
}

impl World for LabWorld {
    fn pace(&self) -> Pace {
        Pace {
            patience: Duration::from_secs(30),
            outage: Duration::from_secs(3),
        }
    }

    fn namespace(&self) -> &str {
        NAMESPACE
    }

    fn service(&self) -> &str {
        self.stage.service()
    }

    fn zone(&self) -> &str {
        ZONE
    }

    fn account(&self) -> Account<'_> {
        let lab = &self.stage.lab;
        Account {
            user: lab.user(),
            password: lab.password(),
            database: lab.database(),
            port: lab.port(),
        }
    }

    fn config(&self, seat: Seat, name: &str) -> Config {
        let config = self.stage.config().with_service(name);
        config
            .with_search(Self::search(seat))
            .with_refresh(REFRESH[0], REFRESH[1])
    }

    fn resolver(&self, seat: Seat, name: &str) -> Result<DnsResolver, Failure> {
        let dns = DnsResolver::builder(name.parse::<ServiceName>()?)
            .name_servers(vec![self.stage.dns.addr()])
            .search(SearchList::new(Self::search(seat)));
        Ok(dns.build()?)
    }

    async fn addresses(&self) -> Result<BTreeMap<u32, IpAddr>, Failure> {
        let lab = &self.stage.lab;
        let unready = self.unready.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = lab.ordinals().into_iter();
        let ready = ready.filter(|ordinal| !unready.contains(ordinal));
        Ok(ready
            .map(|ordinal| (ordinal, lab.address(ordinal)))
            .collect())
    }

    async fn delete_pod(&self, ordinal: u32) -> Result<Replaced, Failure> {
        self.replace(ordinal).await
    }

    async fn scale(&self, pods: u32) -> Outcome {
        let lab = &self.stage.lab;
        loop {
            let ordinals = lab.ordinals();
            let last = ordinals.last().copied().unwrap_or_default();
            let size = u32::try_from(ordinals.len())?;
            if size < pods {
                lab.add_replica().await?;
            } else if size > pods {
                self.terminate(last).await?;
                lab.remove(last).await?;
            } else {
                return Ok(());
            }
            self.stage.publish();
        }
    }

    async fn rolling_restart(&self) -> Outcome {
        let mut ordinals = self.stage.lab.ordinals();
        ordinals.reverse();
        for ordinal in ordinals {
            self.replace(ordinal).await?;
            sleep(MIN_READY).await;
        }
        Ok(())
    }

    async fn set_ready(&self, ordinal: u32, ready: bool) -> Outcome {
        let mut unready = self.unready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready {
            unready.remove(&ordinal);
        } else {
            unready.insert(ordinal);
        }
        Ok(self.stage.set_ready(ordinal, ready)?)
    }

    async fn set_dns(&self, there: bool) -> Outcome {
        let fault = (!there).then_some(Fault::Drop);
        self.stage.dns.set_fault(fault);
        Ok(())
    }
}
