//! The tasks and pools of a cluster that was started.
//!
//! Owns their start, the checkout, and their end. Its tasks must never keep the cluster alive.

use super::Inner;
use super::changes::changes;
use super::reconcile::{Pools, reconcile};
use super::roles::{self, Roles};
use super::status::{PodStatus, Status};
use crate::balance::{Balance, BalanceConfig, BalanceError, EndpointReport};
use crate::error::{ConnectError, Error};
use crate::mysql::{Limit, PodConn, PodPool, PodRequest, Target};
use crate::topology::{Discovery, RefreshConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A checkout of the primary that takes longer than this waits for one to appear: look-ups are
/// made urgent.
const PATIENCE: Duration = Duration::from_millis(20);

pub(super) struct Running {
    pub(super) discovery: Discovery,
    balance: Balance<PodPool>,
    pools: Arc<Pools>,
    roles: Arc<Roles>,
    tasks: [AbortHandle; 2],
    /// Closed on purpose, not because the tasks are gone.
    shut: AtomicBool,
}

impl Running {
    pub(super) fn start(inner: &Inner) -> Result<Self, Error> {
        let handle = Handle::try_current().map_err(|_| Error::RuntimeGone)?;
        let config = &inner.config;
        let resolve = inner
            .source
            .open(config)
            .map_err(|source| Error::Discovery {
                service: inner.source.describe(),
                waited: Duration::ZERO,
                source: Box::new(source),
            })?;
        let refresh = RefreshConfig::default()
            .with_min_interval(config.refresh_min)
            .with_max_interval(config.refresh_max)
            .with_grace(config.grace);
        let discovery = Discovery::start(resolve, refresh, &handle);

        let (changes, source) = changes();
        let options = BalanceConfig::default()
            .with_checkout_timeout(config.checkout_timeout)
            .with_max_waiters(config.max_waiters);
        let balance = Balance::new(source, options, &handle);
        let nudged = discovery.clone();
        balance.on_trouble(move || nudged.resolve_now());

        let roles = Roles::new(config);
        let pools = Arc::new(Pools::new(
            config.clone(),
            Arc::clone(&inner.login),
            Arc::clone(&inner.history),
            Arc::clone(&roles),
            handle.clone(),
        ));
        let task = reconcile(
            discovery.subscribe(),
            Arc::clone(&pools),
            changes,
            balance.clone(),
        );
        let following = roles::follow(
            roles.warming(),
            Arc::clone(&pools),
            Arc::clone(&inner.history),
            balance.clone(),
            discovery.name().to_owned(),
        );
        let tasks = [
            handle.spawn(task).abort_handle(),
            handle.spawn(following).abort_handle(),
        ];
        Ok(Self {
            discovery,
            balance,
            pools,
            roles,
            tasks,
            shut: AtomicBool::new(false),
        })
    }

    fn end_tasks(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Whether the runtime took the tasks down.
    pub(super) fn is_gone(&self) -> bool {
        self.discovery.is_stopped()
    }

    /// A connection for `request`, if one is there that needs neither a check nor a wait.
    pub(super) fn at_once(&self, request: &PodRequest, limit: Limit) -> Option<PodConn> {
        let target = request.target;
        if target == Target::Primary && !self.roles.is_warm() {
            return None;
        }
        let served = self
            .balance
            .serve_now(request, |pool| pool.0.at_once(target))?;
        let (guard, mut conn) = served.into_parts();
        conn.attach(guard, limit);
        Some(conn)
    }

    /// A connection for `request`, ready to use under `limit`.
    pub(super) async fn checkout(
        &self,
        request: PodRequest,
        limit: Limit,
    ) -> Result<PodConn, Error> {
        let target = request.target;
        // Reads do without: they are served at once, or the balancer knows how long they waited.
        let started = (target == Target::Primary).then(Instant::now);
        if let (Target::Primary, Some(deadline)) = (target, request.deadline)
            && !self.roles.is_warm()
        {
            // Too late: then the balancer says so, and knows of whom.
            let _ = tokio::time::timeout_at(deadline, self.roles.warmed()).await;
        }
        let mut call = self.balance.ask(request);
        let served = match target {
            Target::Replicas => call.await,
            Target::Primary => match tokio::time::timeout(PATIENCE, &mut call).await {
                Ok(served) => served,
                Err(_) => {
                    let _urgent = (!self.primary_is_well())
                        .then(|| (self.discovery.wait_for_primary(), self.roles.urgent()));
                    tokio::select! {
                        biased;
                        served = &mut call => served,
                        error = self.roles.hopeless() => return Err(Error::Connect(error)),
                    }
                }
            },
        };
        match served {
            Ok(served) => {
                let (guard, mut conn) = served.into_parts();
                conn.attach(guard, limit);
                Ok(conn)
            }
            Err(error) => Err(self.explain(error, target, started)),
        }
    }

    /// Whether a writer waits only because others are served: then DNS has nothing to tell.
    fn primary_is_well(&self) -> bool {
        let pools = self.pools.all();
        let mut primaries = pools
            .iter()
            .filter(|(_, pool)| pool.is_primary() && pool.is_listed());
        let reports = self.balance.endpoints();
        primaries.any(|(key, pool)| {
            let key = key.to_string();
            let report = reports.iter().find(|report| report.key == key);
            pool.is_confirmed() && report.is_some_and(|report| report.last_cause.is_none())
        })
    }

    fn explain(
        &self,
        error: BalanceError<ConnectError>,
        target: Target,
        started: Option<Instant>,
    ) -> Error {
        match error {
            BalanceError::QueueFull { waiting } => Error::QueueFull { waiting },
            BalanceError::Endpoint(error) => Error::Connect(error),
            BalanceError::Closed if self.shut.load(Ordering::Acquire) => Error::Closed,
            BalanceError::Closed => Error::RuntimeGone,
            BalanceError::Timeout {
                waited,
                endpoints: pods,
                last,
            } => {
                // Never a pod: then it is discovery that has something to say.
                let now = Instant::now();
                let started = started.or(now.checked_sub(waited)).unwrap_or(now);
                if let Err(error) = self.require_pods(started) {
                    return error;
                }
                match (target, last) {
                    // Waiting longer would not help; this needs a decision.
                    (Target::Primary, Some(lost @ ConnectError::HistoryLost { .. })) => {
                        Error::Connect(lost)
                    }
                    (Target::Primary, _) => {
                        let pods = self.or_those_asked(pods);
                        Error::NoPrimary { waited, pods }
                    }
                    (Target::Replicas, _) => Error::NoReplica { waited, pods },
                }
            }
        }
    }

    /// `pods`; if there is none, because none was found to be the primary, all that were asked.
    fn or_those_asked(&self, pods: Vec<EndpointReport>) -> Vec<EndpointReport> {
        if !pods.is_empty() {
            return pods;
        }
        let mut all = self.balance.endpoints();
        for report in &mut all {
            let refusal = self.roles.refusal(&report.key);
            report.last_cause = refusal.or(report.last_cause.take());
        }
        all
    }

    pub(super) fn status(&self) -> Status {
        let topology = self.discovery.topology();
        let reports = self.balance.endpoints();
        let pools = self.pools.all();
        let pods = pools.iter().map(|(key, pool)| {
            let key = key.to_string();
            let report = reports.iter().find(|report| report.key == key);
            PodStatus {
                pod: pool.pod().clone(),
                ordinal: pool.ordinal(),
                primary: pool.is_primary(),
                listed: pool.is_listed(),
                read_only: pool.is_read_only(),
                in_flight: report.map_or(0, |report| report.in_flight),
                connections_in_use: pool.in_use(),
                connections_idle: pool.idle_count(),
                state: report.map(|report| report.state.clone()),
                last_failure: report.and_then(|report| report.last_cause.clone()),
            }
        });
        let discovery = self.discovery.status();
        Status {
            service: topology.service().map(str::to_owned),
            pods: pods.collect(),
            last_answer: discovery.last_ok.map(|at| at.elapsed()),
            last_discovery_error: discovery.last_error,
        }
    }

    pub(super) async fn shutdown(&self, until: Instant) -> Result<(), Error> {
        self.shut.store(true, Ordering::Release);
        self.balance.close();
        self.discovery.stop();
        self.end_tasks();
        let mut pools: Vec<_> = self.pools.all().into_iter().map(|(_, pool)| pool).collect();
        pools.extend(self.pools.gone());
        for pool in &pools {
            pool.retire();
        }
        for pool in &pools {
            let _ = tokio::time::timeout_at(until, pool.drained()).await;
        }
        let in_use = pools.iter().map(|pool| pool.in_use()).sum();
        for pool in &pools {
            pool.abort();
        }
        match in_use {
            0 => Ok(()),
            in_use => Err(Error::ShutdownTimeout { in_use }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.balance.close();
        self.discovery.stop();
        self.end_tasks();
        self.pools.close();
    }
}
