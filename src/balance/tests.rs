//! The balancer's behaviour with scripted endpoints, under the paused clock.

mod at_once;
mod calls;
mod declined;
mod ejection;
mod hard;
mod health;
mod limits;
mod newcomers;
mod pick;
mod roles;
mod towers;
mod waiting;

use super::*;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::discover::Change;
use tower::{Service, ServiceExt};

const YES: Eligibility = Eligibility::Yes {
    tier: 0,
    room: true,
};
const FULL: Eligibility = Eligibility::Yes {
    tier: 0,
    room: false,
};
/// Serves only when no other endpoint can.
const RESERVE: Eligibility = Eligibility::Yes {
    tier: 1,
    room: true,
};

/// How a scripted endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Works,
    Fails,
    Overloaded,
    Unfit,
    UnfitForNoTime,
    UnfitForEver,
    /// It has no room, but reports this only to a call that it accepted.
    Full,
    Declines,
    Fatal,
    Hangs,
}

#[derive(Debug, thiserror::Error)]
#[error("{mood:?}")]
struct Refusal {
    mood: Mood,
}

impl Classify for Refusal {
    fn class(&self) -> Class {
        match self.mood {
            Mood::Works | Mood::Fails | Mood::Hangs => Class::Failure,
            Mood::Overloaded => Class::Overloaded,
            Mood::Unfit => Class::Unfit(Duration::from_millis(100)),
            Mood::UnfitForNoTime => Class::Unfit(Duration::ZERO),
            Mood::UnfitForEver => Class::Unfit(Duration::MAX),
            Mood::Full => Class::Full,
            Mood::Declines => Class::Declined,
            Mood::Fatal => Class::Fatal,
        }
    }
}

#[derive(Clone)]
struct Scripted {
    name: &'static str,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<AtomicUsize>,
}

impl Service<Ask> for Scripted {
    type Response = &'static str;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<&'static str, Refusal>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (mood, name) = (*self.mood.lock().unwrap(), self.name);
        Box::pin(async move {
            match mood {
                Mood::Works => Ok(name),
                Mood::Hangs => std::future::pending().await,
                mood => Err(Refusal { mood }),
            }
        })
    }
}

/// A request for `a` and `b`, with `z` in reserve; or for the endpoint `only`.
#[derive(Debug, Clone, Default)]
struct Ask {
    only: Option<&'static str>,
    tried: Option<&'static str>,
    within: Option<Duration>,
    started: Option<Instant>,
}

impl Eligible<Scripted> for Ask {
    fn eligible(&self, endpoint: &Scripted) -> Eligibility {
        match self.only {
            Some(name) if name == endpoint.name => YES,
            Some(_) => Eligibility::No,
            None if endpoint.name == "z" => RESERVE,
            None => YES,
        }
    }

    fn tried(&self, endpoint: &Scripted) -> bool {
        self.tried == Some(endpoint.name)
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.started? + self.within?)
    }
}

type Changes = mpsc::UnboundedSender<Result<Change<String, Scripted>, String>>;

struct World {
    balance: Balance<Scripted>,
    changes: Changes,
    moods: HashMap<&'static str, Arc<Mutex<Mood>>>,
    calls: HashMap<&'static str, Arc<AtomicUsize>>,
}

impl World {
    fn new(config: BalanceConfig) -> Self {
        let (changes, mut source) = mpsc::unbounded_channel();
        let source = futures_util::stream::poll_fn(move |cx| source.poll_recv(cx));
        Self {
            balance: Balance::new(source, config, &tokio::runtime::Handle::current()),
            changes,
            moods: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    async fn with(names: &[&'static str]) -> Self {
        let mut world = Self::new(BalanceConfig::default());
        for name in names {
            world.insert(name);
        }
        world.settle().await;
        world
    }

    fn insert(&mut self, name: &'static str) {
        let mood = Arc::new(Mutex::new(Mood::Works));
        let calls = Arc::new(AtomicUsize::new(0));
        self.moods.insert(name, Arc::clone(&mood));
        self.calls.insert(name, Arc::clone(&calls));
        let service = Scripted { name, mood, calls };
        let change = Change::Insert(name.to_owned(), service);
        self.changes.send(Ok(change)).unwrap();
    }

    fn remove(&self, name: &str) {
        self.changes
            .send(Ok(Change::Remove(name.to_owned())))
            .unwrap();
    }

    /// Lets the driver and probes run.
    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn mood(&self, name: &str, mood: Mood) {
        *self.moods[name].lock().unwrap() = mood;
    }

    fn calls(&self, name: &str) -> usize {
        self.calls[name].load(Ordering::SeqCst)
    }

    async fn ask(&self) -> Result<&'static str, BalanceError<Refusal>> {
        self.ask_for(Ask::default()).await
    }

    async fn ask_for(&self, ask: Ask) -> Result<&'static str, BalanceError<Refusal>> {
        let served = self.balance.clone().oneshot(ask).await?;
        Ok(served.into_parts().1)
    }

    fn in_flight(&self) -> usize {
        self.balance.endpoints().iter().map(|e| e.in_flight).sum()
    }
}

fn only(name: &'static str) -> Ask {
    Ask {
        only: Some(name),
        ..Ask::default()
    }
}

const _: () = {
    fn sendable<T: Send + Sync + 'static>() {}
    fn check() {
        sendable::<Balance<Scripted>>();
        sendable::<Result<Infallible, Guard>>();
    }
    let _ = check;
};
