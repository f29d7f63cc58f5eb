//! Which questions to ask of DNS, in which order, until the pods are known.
//!
//! For each candidate name of the Service, rung by rung: SRV of the named port, SRV at the Service's
//! name, which names the pods; else A or AAAA, and then the same for each pod by name until every
//! address has its ordinal. It must never give an address an ordinal that DNS did not tell.
//!
//! What is remembered between look-ups only saves questions: the candidate that answered, the rung
//! that did, and (`attribution`) which pod each address was. All of it is asked again now and then,
//! and at once when it fails.

mod attribution;
mod memory;

use std::future::Future;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::RecordType;
use tokio::time::Instant;

use self::memory::{Memory, Rung};
use super::candidates;
use super::records::{self, Target, Ttl};
use super::transcript::Notes;
use super::{Answer, BoxFuture, ResolveError};
use crate::name::service_of_pod;

/// Queries in flight at once when pods are asked for one by one.
const CONCURRENCY: usize = 16;
/// How many aliases are followed, one after the other.
const MAX_ALIASES: usize = 4;

/// One query to DNS: the one thing the ladder does not do itself.
pub(super) trait Ask: Send + Sync {
    /// Asks for records of an absolute name. `NotFound` is NXDOMAIN, `NoData` an empty answer.
    fn ask(
        &self,
        name: &str,
        kind: RecordType,
        notes: Notes<'_>,
    ) -> impl Future<Output = Result<Message, ResolveError>> + Send;
}

/// What to look for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The Service's name as configured.
    pub(super) service: String,
    /// What it may stand for: absolute, best first, at least one.
    pub(super) candidates: Vec<String>,
    pub(super) port: u16,
    /// The Service's port for MySQL, if it is asked for by name.
    pub(super) port_name: Option<String>,
    pub(super) statefulset: Option<String>,
    /// What the StatefulSet is called if nothing says otherwise: like the Service.
    pub(super) default_set: String,
    /// Whether an alias at the Service's name is followed.
    pub(super) allow_alias: bool,
    /// For how long pods are asked for one by one: an answer that lacks some ordinals is better
    /// than none.
    pub(super) patience: Duration,
}

/// The names to ask, and what was learnt about them.
#[derive(Debug)]
pub(super) struct Ladder {
    pub(super) wanted: Wanted,
    memory: Memory,
}

/// One look-up at one name.
struct Climb<'a, A> {
    wanted: &'a Wanted,
    memory: &'a Memory,
    dns: &'a A,
    notes: Notes<'a>,
    began: Instant,
}

/// Where the pods were found.
type Found = (Rung, Answer);

// === impl Ladder ===

impl Ladder {
    /// Starts with what another one has learnt, if that looks for the same.
    pub(super) fn new(wanted: Wanted, old: Option<&Self>) -> Self {
        let same = old.filter(|old| old.wanted.candidates == wanted.candidates);
        Self {
            wanted,
            memory: same.map_or_else(Memory::default, |old| old.memory.clone()),
        }
    }

    /// One look-up.
    pub(super) async fn look_up(
        &self,
        dns: &impl Ask,
        notes: Notes<'_>,
    ) -> Result<Answer, ResolveError> {
        let climb = Climb {
            wanted: &self.wanted,
            memory: &self.memory,
            dns,
            notes,
            began: Instant::now(),
        };
        let mut tried = Vec::new();
        let candidates = &self.wanted.candidates;
        for i in candidates::order(candidates, self.memory.winner()) {
            let start = self.memory.start(i);
            match climb.candidate(&candidates[i], start).await {
                Ok((rung, answer)) => {
                    if candidates::may_win(candidates, i) {
                        self.memory.won(i, rung, start);
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    // Unless nothing is there, the right name may be this one: no other may answer
                    // in its place.
                    let go_on = error.is_absence();
                    tried.push(error);
                    if !go_on {
                        break;
                    }
                }
            }
        }
        Err(ResolveError::of_search(&self.wanted.service, tried))
    }
}

// === impl Climb ===

impl<A: Ask> Climb<'_, A> {
    /// All rungs for one candidate, from the one that answered last.
    async fn candidate(&self, name: &str, start: Rung) -> Result<Found, ResolveError> {
        let mut found = self.climb(name, start, MAX_ALIASES).await;
        if start != Rung::TOP && found.as_ref().is_err_and(ResolveError::is_absence) {
            self.notes
                .conclude(|| format!("{name} does not answer as it did; all ways are tried again"));
            found = self.climb(name, Rung::TOP, MAX_ALIASES).await;
        }
        found
    }

    /// The rungs at one name, from `start` on.
    fn climb<'b>(
        &'b self,
        name: &'b str,
        start: Rung,
        aliases: usize,
    ) -> BoxFuture<'b, Result<Found, ResolveError>> {
        Box::pin(async move {
            let port = self.wanted.port_name.as_ref();
            if let Some(port) = port.filter(|_| start <= Rung::Port && !is_pod(name)) {
                let asked = format!("_{port}._tcp.{name}");
                if let Some(answer) = self.srv(&asked, name, aliases).await? {
                    return Ok((Rung::Port, answer));
                }
            }
            if start <= Rung::Service
                && let Some(answer) = self.srv(name, name, aliases).await?
            {
                return Ok((Rung::Service, answer));
            }
            Ok((Rung::Addresses, self.by_addresses(name, aliases).await?))
        })
    }

    /// SRV records at `asked`, for the Service `name`: each target names its pod. `None` if they
    /// do not show any pod, and another rung may.
    async fn srv(
        &self,
        asked: &str,
        name: &str,
        aliases: usize,
    ) -> Result<Option<Answer>, ResolveError> {
        let (dns, notes) = (self.dns, self.notes);
        let message = match dns.ask(asked, RecordType::SRV, notes).await {
            Ok(message) => message,
            Err(error) => return self.without_srv(asked, error),
        };
        if let Some(target) = self.alias(asked, &message, aliases)? {
            // The port's name is the Service's; what it is called elsewhere is for the climb there.
            if asked != name {
                return Ok(None);
            }
            let (_, answer) = self.climb(&target, Rung::TOP, aliases - 1).await?;
            return Ok(Some(answer));
        }
        let (targets, mut ttl) = match records::targets(asked, &message, self.wanted.port) {
            Ok(found) => found,
            Err(error) => return self.without_srv(asked, error),
        };
        let completed: Vec<_> = stream::iter(targets)
            .map(|target| with_addresses(dns, target, notes))
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        let (mut found, mut failed) = (Vec::with_capacity(completed.len()), None);
        for one in completed {
            match one {
                Ok((target, more)) => {
                    ttl.join(more);
                    found.push(target);
                }
                Err(error) => failed = Some(error),
            }
        }
        let service = undotted(name);
        let pods = records::pods(
            service_of_pod(name).unwrap_or(service),
            found,
            self.wanted.statefulset.as_deref(),
            &self.wanted.default_set,
        );
        let answer = Answer::new(service, pods, ttl.get());
        match (answer.is_empty(), failed) {
            (false, failed) => {
                notes.conclude(|| told(&answer, failed.as_ref()));
                let partial = failed.is_some();
                Ok(Some(if partial { answer.partial() } else { answer }))
            }
            (true, Some(error)) => Err(error),
            (true, None) => {
                notes
                    .conclude(|| format!("none of the pods that SRV {asked} names has an address"));
                Ok(None)
            }
        }
    }

    /// Whether there is a rung below for what went wrong with SRV records.
    fn without_srv(
        &self,
        asked: &str,
        error: ResolveError,
    ) -> Result<Option<Answer>, ResolveError> {
        let why = match &error {
            error if error.is_absence() => "there is none",
            // Too long with the port's name in front.
            ResolveError::Config { .. } => "DNS has no such names",
            ResolveError::Truncated { .. } => "the answer is too large",
            _ => return Err(error),
        };
        self.notes
            .conclude(|| format!("SRV {asked} does not tell the pods: {why}"));
        Ok(None)
    }

    /// The name to ask in place of `asked`, if the answer is that this is an alias and aliases are
    /// followed.
    fn alias(
        &self,
        asked: &str,
        message: &Message,
        aliases: usize,
    ) -> Result<Option<String>, ResolveError> {
        let target = match self.wanted.allow_alias {
            true => records::alias(asked, message)?,
            false => None,
        };
        let Some(target) = target else {
            return Ok(None);
        };
        if aliases == 0 {
            return Err(ResolveError::Foreign {
                name: asked.to_owned(),
                owner: target,
            });
        }
        self.notes
            .conclude(|| format!("{asked} is an alias of {target}., which is asked in its place"));
        Ok(Some(format!("{target}.")))
    }
}

/// The target with its addresses, asked for if the SRV answer had none; a name that is gone by now
/// has none.
async fn with_addresses(
    dns: &impl Ask,
    mut target: Target,
    notes: Notes<'_>,
) -> Result<(Target, Ttl), ResolveError> {
    if !target.addresses.is_empty() {
        return Ok((target, Ttl::default()));
    }
    let name = format!("{}.", target.host);
    match any_family(dns, &name, notes).await {
        Ok((_, message)) => {
            let (addresses, ttl) = records::addresses(&name, &message)?;
            target.addresses = addresses;
            Ok((target, ttl))
        }
        Err(error) if is_gone(&error) => Ok((target, Ttl::default())),
        Err(error) => Err(error),
    }
}

/// IPv4 addresses, or if the name has none, IPv6 ones. AAAA is not asked for where A answers: in a
/// cluster without IPv6 each such query would count as a failure in hickory's statistics.
pub(super) async fn any_family(
    dns: &impl Ask,
    name: &str,
    notes: Notes<'_>,
) -> Result<(RecordType, Message), ResolveError> {
    for kind in [RecordType::A, RecordType::AAAA] {
        match dns.ask(name, kind, notes).await {
            Ok(message) if !message.answers.is_empty() => return Ok((kind, message)),
            Ok(_) | Err(ResolveError::NoData { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ResolveError::NoData {
        name: name.to_owned(),
    })
}

/// Whether there is no such pod. Cluster DNS with autopath says so with a stranger's records; and
/// a name that cannot be asked (too long, odd bytes) is no pod's.
fn is_gone(error: &ResolveError) -> bool {
    error.is_absence()
        || matches!(
            error,
            ResolveError::Foreign { .. } | ResolveError::Config { .. }
        )
}

fn is_pod(name: &str) -> bool {
    service_of_pod(name).is_some()
}

fn undotted(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// A sentence on what an answer tells.
fn told(answer: &Answer, failed: Option<&ResolveError>) -> String {
    let named = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    let (named, all) = (named.count(), answer.pods.len());
    let mut text = format!("{} has {all} pods, {named} with an ordinal", answer.service);
    if let Some(error) = failed {
        text.push_str(&format!("; of others it is not known: {error}"));
    }
    text
}

#[cfg(test)]
mod tests;
