//! Which questions to ask DNS, in which order, until the pods are known.
//!
//! [`Ladder::look_up`] climbs the same rungs for each candidate name of the Service. The first rung
//! asks for SRV records of the named port, the second for SRV records at the Service's name; both
//! name the pods. The last rung asks for A or AAAA records, and then for each pod by name until
//! every address has its ordinal.
//!
//! Between look-ups, the ladder remembers only what saves questions: the candidate and the rung
//! that answered, and (in `attribution`) the pod of each address. It asks for all of this again now
//! and then, and at once if it fails.
//!
//! It must never give an address an ordinal that DNS did not give.

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
use super::recording::RecorderRef;
use super::records::{self, Target, Ttl};
use super::{Answer, BoxFuture, FoundPod, ResolveError};
use crate::name::{Ordinal, service_of_pod};

/// Concurrent queries when pods are asked for by name.
const CONCURRENCY: usize = 16;
/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 4;

/// Sends one query to DNS, which is the only I/O of a look-up.
pub(super) trait Ask: Send + Sync {
    /// Asks for records of an absolute name. `NotFound` is NXDOMAIN, `NoData` an empty answer.
    fn ask(
        &self,
        name: &str,
        kind: RecordType,
        notes: RecorderRef<'_>,
    ) -> impl Future<Output = Result<Message, ResolveError>> + Send;
}

/// What to look up, and how.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The Service's name as configured.
    pub(super) service: String,
    /// The absolute names that `service` may stand for, best first, at least one.
    pub(super) candidates: Vec<String>,
    pub(super) port: u16,
    /// The name of the Service's port for MySQL, if configured.
    pub(super) port_name: Option<String>,
    pub(super) statefulset: Option<String>,
    /// The StatefulSet's name if nothing else gives it: the Service's name.
    pub(super) default_set: String,
    /// The StatefulSet's first ordinal.
    pub(super) first_ordinal: Ordinal,
    /// Whether pods that do not belong to the StatefulSet are read from.
    pub(super) read_other_pods: bool,
    /// Whether an alias at the Service's name is followed.
    pub(super) allow_alias: bool,
    /// How long to ask for pods by name. After this time, an answer that lacks some ordinals is
    /// better than no answer.
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
    notes: RecorderRef<'a>,
    began: Instant,
}

/// The rung that found the pods, and the answer.
type Found = (Rung, Answer);

impl Ladder {
    /// Starts with the memory of another ladder if it asks for the same names.
    pub(super) fn new(wanted: Wanted, old: Option<&Self>) -> Self {
        let same = old.filter(|old| old.wanted.candidates == wanted.candidates);
        Self {
            wanted,
            memory: same.map_or_else(Memory::default, |old| old.memory.clone()),
        }
    }

    /// Looks up the pods once.
    pub(super) async fn look_up(
        &self,
        dns: &impl Ask,
        notes: RecorderRef<'_>,
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
                    // Unless the name is absent, it may be the correct one, so no other name may
                    // answer instead of it.
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

impl<A: Ask> Climb<'_, A> {
    /// Climbs all rungs for one candidate, starting with the rung that answered last.
    async fn candidate(&self, name: &str, start: Rung) -> Result<Found, ResolveError> {
        let mut found = self.climb(name, start, MAX_ALIASES).await;
        if start != Rung::TOP && found.as_ref().is_err_and(ResolveError::is_absence) {
            self.notes
                .conclude(|| format!("{name} does not answer as it did; all ways are tried again"));
            found = self.climb(name, Rung::TOP, MAX_ALIASES).await;
        }
        found
    }

    /// Climbs the rungs at one name, from `start`.
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

    /// The pods from the SRV records at `asked`, for the Service `name`. `None` if the records show
    /// no pod, so that another rung may find the pods.
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
            // The port's name belongs to this Service. The climb at the target asks with the
            // target's names.
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
        let (pods, others) = records::pods(
            service_of_pod(name).unwrap_or(service),
            found,
            self.wanted.statefulset.as_deref(),
            &self.wanted.default_set,
        );
        let answer = self.answer(service, pods, others, ttl);
        match (answer.is_empty(), failed) {
            (true, _) if !answer.others.is_empty() => Err(self.not_ours(answer)),
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

    /// An answer with our pods, and with the others if the options say so.
    fn answer(
        &self,
        service: &str,
        mut pods: Vec<FoundPod>,
        others: Vec<FoundPod>,
        ttl: Ttl,
    ) -> Answer {
        let mut unused = Vec::new();
        if self.wanted.read_other_pods {
            pods.extend(others);
        } else {
            // A pod that was not found by name has the Service's name as its host.
            let name = |pod: FoundPod| match pod.addresses.first() {
                Some(address) if pod.host == service => address.to_string(),
                _ => pod.host,
            };
            unused.extend(others.into_iter().map(name));
        }
        Answer::new(service, pods, ttl.get()).with_others(unused)
    }

    fn not_ours(&self, answer: Answer) -> ResolveError {
        let error = ResolveError::NotOurs {
            name: answer.service,
            statefulset: self.wanted.statefulset.clone(),
            found: answer.others,
        };
        self.notes.conclude(|| error.to_string());
        error
    }

    /// After a failed query for SRV records: `None` if a lower rung may succeed, else the error.
    fn without_srv(
        &self,
        asked: &str,
        error: ResolveError,
    ) -> Result<Option<Answer>, ResolveError> {
        let why = match &error {
            error if error.is_absence() => "there is none",
            // The name is too long with the port's name in front.
            ResolveError::Config { .. } => "DNS has no such names",
            ResolveError::Truncated { .. } => "the answer is too large",
            _ => return Err(error),
        };
        self.notes
            .conclude(|| format!("SRV {asked} does not tell the pods: {why}"));
        Ok(None)
    }

    /// The name to ask instead of `asked`, if the answer says that `asked` is an alias and aliases
    /// are followed.
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

/// The target with its addresses. Asks for them if the SRV answer had none. A name that no longer
/// exists has no address.
async fn with_addresses(
    dns: &impl Ask,
    mut target: Target,
    notes: RecorderRef<'_>,
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

/// IPv4 addresses, or IPv6 addresses if the name has no IPv4 ones. AAAA is not asked for if A
/// answers: in a cluster without IPv6, each such query would count as a failure in hickory's
/// statistics.
pub(super) async fn any_family(
    dns: &impl Ask,
    name: &str,
    notes: RecorderRef<'_>,
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

/// Whether the pod does not exist. Cluster DNS with autopath shows this by records of an unrelated
/// host. A name that cannot be asked (too long, odd bytes) is not a pod's name either.
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

/// A sentence that sums up an answer.
fn told(answer: &Answer, failed: Option<&ResolveError>) -> String {
    let named = answer.pods.iter().filter(|pod| pod.ordinal.is_some());
    let (named, all) = (named.count(), answer.pods.len());
    let mut text = format!("{} has {all} pods, {named} with an ordinal", answer.service);
    if !answer.others.is_empty() {
        let others = answer.others.join(", ");
        text.push_str(&format!("; not of the StatefulSet, and not used: {others}"));
    }
    if let Some(error) = failed {
        text.push_str(&format!("; of others it is not known: {error}"));
    }
    text
}

#[cfg(test)]
mod tests;
