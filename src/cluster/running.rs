//! The tasks and pools of a started cluster.
//!
//! Owns the start of the tasks, the checkout, and the shutdown. The tasks must never keep the
//! cluster alive.

use super::changes::changes;
use super::follow::follow;
use super::monitors::Monitors;
use super::reconcile::{Pools, reconcile};
use super::replicas::find_replicas;
use super::roles::Roles;
use super::source::Source;
use super::status::{PodStatus, Status, known_state};
use crate::balance::{Balance, BalanceConfig, BalanceError, EndpointReport, EndpointState};
use crate::checkout::endpoint::PodPool;
use crate::checkout::request::PodRequest;
use crate::config::{Config, PrimaryBy, ReplicaPolicy};
use crate::conn::deadline::Timeouts;
use crate::conn::podconn::PodConn;
use crate::discovery::{BlockedCalls, ResolveError};
use crate::error::{ConnectError, Error, InUse};
use crate::gtid::history::History;
use crate::name::Ordinal;
use crate::pool::evidence::Evidence;
use crate::routing::{Duty, Target};
use crate::server::login::Login;
use crate::topology::{Discovery, RefreshConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A checkout of the primary that takes longer than this may be waiting for a primary to appear:
/// look-ups become urgent.
const PATIENCE: Duration = Duration::from_millis(20);

/// The parts of a cluster before its start.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) history: Arc<History>,
    pub(super) login: Arc<Login>,
}

pub(super) struct Running {
    pub(super) discovery: Discovery,
    balance: Balance<PodPool>,
    pools: Arc<Pools>,
    roles: Arc<Roles>,
    tasks: [AbortHandle; 3],
    /// The cluster was shut down; otherwise a closed balancer means that the tasks are gone.
    shut: AtomicBool,
}

impl Running {
    pub(super) fn start(parts: &Parts) -> Result<Self, Error> {
        let handle = Handle::try_current().map_err(|_| Error::RuntimeGone)?;
        let config = &parts.config;
        let resolve = parts
            .source
            .open(config)
            .map_err(|source| Error::Discovery {
                service: parts.source.describe(),
                waited: Duration::ZERO,
                source: Box::new(source),
                hints: Vec::new(),
            })?;
        let refresh = RefreshConfig::default()
            .with_min_interval(config.refresh_min)
            .with_max_interval(config.refresh_max)
            .with_grace(config.grace)
            .with_primary(Ordinal::new(config.first_ordinal));
        let discovery = Discovery::start(resolve, refresh, &handle);

        let (changes, source) = changes();
        let options = BalanceConfig::default()
            .with_checkout_timeout(config.longest_read_checkout())
            .with_max_waiters(config.max_waiters);
        let balance = Balance::new(source, options, &handle);
        let nudged = discovery.clone();
        balance.on_trouble(move || nudged.resolve_now());

        let roles = Roles::new(config);
        let evidence = Arc::new(Evidence::new(config));
        let pools = Arc::new(Pools::new(
            config.clone(),
            Arc::clone(&parts.login),
            Arc::clone(&parts.history),
            Arc::clone(&evidence),
            Arc::clone(&roles),
            handle.clone(),
        ));
        let task = reconcile(
            discovery.subscribe(),
            Arc::clone(&pools),
            changes,
            balance.clone(),
        );
        let monitors = Arc::<Monitors>::default();
        let following = follow(
            roles.warming(),
            Arc::clone(&pools),
            Arc::clone(&monitors),
            Arc::clone(&parts.history),
            balance.clone(),
            discovery.clone(),
        );
        let finding = find_replicas(
            Arc::clone(&pools),
            monitors,
            evidence,
            Arc::clone(&parts.history),
            Arc::clone(&roles),
            balance.clone(),
        );
        let tasks = [
            handle.spawn(finding).abort_handle(),
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

    /// Whether the tasks ended with their runtime.
    pub(super) fn is_gone(&self) -> bool {
        self.discovery.is_stopped()
    }

    /// A connection for `request`, if an idle one needs neither a check nor a wait.
    pub(super) fn at_once(&self, request: &PodRequest, limit: Timeouts) -> Option<PodConn> {
        let target = request.target;
        if target == Target::Primary && !self.roles.is_warm() {
            return None;
        }
        let served = self
            .balance
            .serve_now(request, |pool| pool.0.at_once(request))?;
        let (guard, mut conn) = served.into_parts();
        conn.attach(guard, limit);
        Some(conn)
    }

    /// Checks out a connection for `request`; `limit` applies to its use.
    pub(super) async fn checkout(
        &self,
        request: PodRequest,
        limit: Timeouts,
    ) -> Result<PodConn, Error> {
        let (target, started) = (request.target, Instant::now());
        tokio::select! {
            biased;
            served = self.served(request, limit, started) => served,
            () = self.barred(target) => Err(self.no_pod(target, started, self.balance.endpoints())),
        }
    }

    async fn served(
        &self,
        request: PodRequest,
        limit: Timeouts,
        started: Instant,
    ) -> Result<PodConn, Error> {
        let (target, policy) = (request.target, request.policy);
        if let (Target::Primary, Some(deadline)) = (target, request.deadline)
            && !self.roles.is_warm()
        {
            // After a timeout, the call to the balancer returns the error with a report of each
            // pod.
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
            Err(error) => Err(self.explain(error, (target, policy), started)),
        }
    }

    /// Whether the primary is healthy: then a writer waits only because others use all connections,
    /// and look-ups would not help.
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
        (target, policy): (Target, ReplicaPolicy),
        started: Instant,
    ) -> Error {
        match error {
            BalanceError::QueueFull { waiting } => Error::QueueFull { waiting },
            BalanceError::Endpoint(error) => Error::Connect(error),
            BalanceError::Closed if self.shut.load(Ordering::Acquire) => Error::Closed,
            BalanceError::Closed => Error::RuntimeGone,
            BalanceError::Timeout {
                endpoints: mut pods,
                last,
                ..
            } => match (target, last) {
                // A longer wait would not help: an operator has to decide.
                (Target::Primary, Some(lost @ ConnectError::HistoryLost { .. })) => {
                    Error::Connect(lost)
                }
                _ => match self.all_in_use(&mut pods, target, policy) {
                    Some(pods) => {
                        let waited = started.elapsed();
                        Error::AllInUse { waited, pods }
                    }
                    None => self.no_pod(target, started, pods),
                },
            },
        }
    }

    /// Records in the reports which pods have all connections in use. Returns these pods if every
    /// pod is healthy.
    fn all_in_use(
        &self,
        reports: &mut [EndpointReport],
        target: Target,
        policy: ReplicaPolicy,
    ) -> Option<Vec<InUse>> {
        let pools = self.pools.all();
        let mut in_use = Vec::new();
        let mut are_well = true;
        for report in reports {
            let is_well = matches!(report.state, EndpointState::Ready | EndpointState::Suspect);
            are_well &= is_well;
            let pool = pools.iter().find(|(key, _)| key.to_string() == report.key);
            let pool = pool.filter(|_| is_well);
            let in_use_by_others = pool.and_then(|(_, pool)| {
                let duty = Duty::of(target, policy, pool.role())?;
                pool.all_in_use(duty)
            });
            if let Some(pod) = in_use_by_others {
                report.last_cause = Some(pod.to_string());
                in_use.push(pod);
            }
        }
        (are_well && !in_use.is_empty()).then_some(in_use)
    }

    /// The error for a call that no pod could serve.
    fn no_pod(&self, target: Target, started: Instant, pods: Vec<EndpointReport>) -> Error {
        // If no pod was ever found, discovery has the cause.
        if let Err(error) = self.require_pods(started) {
            return error;
        }
        let (waited, hints) = (started.elapsed(), self.hints());
        match target {
            Target::Primary => Error::NoPrimary {
                waited,
                pods: self.or_those_asked(pods),
                hints,
            },
            Target::Replicas => Error::NoReplica {
                waited,
                pods,
                hints,
            },
        }
    }

    /// Returns when the set-up is known to have no pod for such a call, so that a wait would be in
    /// vain. Never returns while such a pod is known from before.
    pub(super) async fn barred(&self, target: Target) {
        let least = match (target, self.roles.by) {
            (Target::Replicas, _) => BlockedCalls::Everything,
            (Target::Primary, PrimaryBy::Ordinal) => BlockedCalls::WritesByOrdinal,
            (Target::Primary, PrimaryBy::Detected) => BlockedCalls::Writes,
        };
        let is_barred = |bars| bars >= least && !self.knows_a_pod(target);
        self.discovery.barred(is_barred).await;
    }

    fn knows_a_pod(&self, target: Target) -> bool {
        let topology = self.discovery.topology();
        match (target, self.roles.by) {
            (Target::Replicas, _) => !topology.is_empty(),
            (Target::Primary, PrimaryBy::Ordinal) => topology.pod(topology.primary()).is_some(),
            (Target::Primary, PrimaryBy::Detected) => self.roles.leader().is_some(),
        }
    }

    /// The findings of the last look-up as hints for the set-up.
    pub(super) fn hints(&self) -> Vec<String> {
        let findings = self.discovery.findings();
        findings.iter().map(ToString::to_string).collect()
    }

    /// Returns when the pods of the current topology can be called.
    pub(super) async fn applied(&self) {
        self.pools
            .applied(self.discovery.topology().version())
            .await;
    }

    /// `pods`; if it is empty because no pod was found to be the primary, all pods that were asked.
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
        let discovery = self.discovery.status();
        // DNS answered that there is no pod: no pod is removed, but none is listed.
        let last_error = discovery.last_error.as_ref();
        let failing = last_error.filter(|_| discovery.failing_since.is_some());
        let none = failing.is_some_and(ResolveError::is_absence);
        let reports = self.balance.endpoints();
        let pools = self.pools.all();
        let pods = pools.iter().map(|(key, pool)| {
            let key = key.to_string();
            let report = reports.iter().find(|report| report.key == key);
            let heard = pool.heard().map(|at| at.elapsed());
            let (connections_in_use, connections_idle) = pool.in_use_and_idle();
            PodStatus {
                pod: pool.pod().clone(),
                ordinal: pool.ordinal(),
                primary: pool.is_primary() && pool.is_listed(),
                listed: !none && topology.lists(pool.ordinal(), pool.pod().address()),
                not_read_from: pool.objection(),
                read_only: pool.is_read_only(),
                heard,
                in_flight: report.map_or(0, |report| report.in_flight),
                connections_in_use,
                stuck_sessions: pool.stuck_sessions(),
                connections_idle,
                state: report.and_then(|report| known_state(&report.state, heard)),
                last_failure: report.and_then(|report| report.last_cause.clone()),
            }
        });
        Status {
            service: topology.service().map(str::to_owned),
            pods: pods.collect(),
            last_answer: discovery.last_ok.map(|at| at.elapsed()),
            last_discovery_error: discovery.last_error,
            hints: self.hints(),
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
