//! Which faults strike, when, and for how long: all of it from one seed.

use crate::doors::Doors;
use headless_mysql::testkit::dns::Fault as DnsFault;
use headless_mysql::testkit::proxy::NetFault;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::sleep;

/// What strikes.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Freeze,
    MoveAfterRestart,
    Swap,
    PrimaryReadOnly,
    ReplicaWritable,
    Net(NetFault),
    NotReady,
    Dns(DnsFault),
    DnsStale,
    DnsFlapping,
    /// Long enough for several look-ups.
    DnsEmpty,
}

/// One fault and where it strikes.
#[derive(Debug, Clone, Copy)]
struct Strike {
    fault: Fault,
    ordinal: u32,
    lasts: Duration,
    then: Duration,
}

/// The faults of a run: some strike servers and their network, some DNS, both at the same time.
#[derive(Debug)]
pub(crate) struct Plan {
    pods: Vec<Strike>,
    dns: Vec<Strike>,
}

/// How many of each kind there were.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<String, usize>);

impl Plan {
    pub(crate) fn new(seed: u64, faults: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut plan = Self {
            pods: Vec::new(),
            dns: Vec::new(),
        };
        for n in 0..faults {
            let of_dns = n % 3 == 2;
            let strike = Strike {
                fault: if of_dns {
                    dns_fault(&mut rng)
                } else {
                    pod_fault(&mut rng)
                },
                ordinal: rng.random_range(0..3),
                lasts: Duration::from_millis(rng.random_range(20..500)),
                then: Duration::from_millis(rng.random_range(0..200)),
            };
            if of_dns {
                &mut plan.dns
            } else {
                &mut plan.pods
            }
            .push(strike);
        }
        plan
    }

    /// Lets the faults strike, and ends each.
    pub(crate) async fn run(self, doors: &Doors) -> Tally {
        let (pods, dns) = tokio::join!(all(doors, self.pods), all(doors, self.dns));
        let mut tally = pods;
        for (kind, count) in dns.0 {
            *tally.0.entry(kind).or_default() += count;
        }
        tally
    }
}

impl Tally {
    pub(crate) fn kinds(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        let all: usize = self.0.values().sum();
        write!(f, "{all} faults: {}", parts.join(", "))
    }
}

fn pod_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..13) {
        0 => Fault::Kill,
        1 => Fault::Freeze,
        2 => Fault::MoveAfterRestart,
        3 => Fault::Swap,
        4 => Fault::PrimaryReadOnly,
        5 => Fault::ReplicaWritable,
        6 => Fault::NotReady,
        7 => Fault::Net(NetFault::Refuse),
        8 => Fault::Net(NetFault::AcceptThenClose),
        9 => Fault::Net(NetFault::BlackHole),
        10 => Fault::Net(NetFault::HalfOpen),
        11 => Fault::Net(NetFault::CutAfter(rng.random_range(0..2000))),
        _ => Fault::Net(NetFault::Slow(Duration::from_millis(
            rng.random_range(1..40),
        ))),
    }
}

fn dns_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..9) {
        0 => Fault::Dns(DnsFault::ServFail),
        1 => Fault::Dns(DnsFault::Refused),
        2 => Fault::Dns(DnsFault::Drop),
        3 => Fault::Dns(DnsFault::NxDomain),
        4 => Fault::Dns(DnsFault::Truncated),
        5 => Fault::Dns(DnsFault::Delay(Duration::from_millis(
            rng.random_range(50..400),
        ))),
        6 => Fault::DnsStale,
        7 => Fault::DnsFlapping,
        _ => Fault::DnsEmpty,
    }
}

async fn all(doors: &Doors, strikes: Vec<Strike>) -> Tally {
    let mut tally = Tally::default();
    for strike in strikes {
        let name = format!("{:?}", strike.fault);
        let name = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
        let name = match strike.fault {
            Fault::Net(fault) => format!("{fault:?}").split('(').next().unwrap().to_owned(),
            Fault::Dns(fault) => format!("Dns{fault:?}")
                .split('(')
                .next()
                .unwrap()
                .to_owned(),
            _ => name,
        };
        *tally.0.entry(name).or_default() += 1;
        one(doors, strike).await;
        sleep(strike.then).await;
    }
    tally
}

async fn one(doors: &Doors, strike: Strike) {
    let Strike { ordinal, lasts, .. } = strike;
    let lab = &doors.stage.lab;
    let replica = 1 + ordinal % 2;
    match strike.fault {
        Fault::Kill => {
            doors.kill(ordinal).await;
            sleep(lasts).await;
            doors.restart(ordinal).await;
        }
        Fault::Freeze => {
            lab.freeze(ordinal).await.unwrap();
            sleep(lasts * 2).await;
            lab.thaw(ordinal).await.unwrap();
        }
        Fault::MoveAfterRestart => {
            doors.kill(ordinal).await;
            sleep(lasts).await;
            doors.restart(ordinal).await;
            doors.move_pod(ordinal).await;
        }
        Fault::Swap => {
            let other = (ordinal + 1) % 3;
            doors.swap(ordinal, other);
            // So that somebody dials.
            for ordinal in [ordinal, other] {
                doors.net(ordinal, Some(NetFault::CutAfter(0)));
            }
            sleep(Duration::from_millis(20)).await;
            for ordinal in [ordinal, other] {
                doors.net(ordinal, None);
            }
            sleep(lasts).await;
            doors.straighten();
        }
        Fault::PrimaryReadOnly => {
            lab.set_read_only(0, true).await.unwrap();
            sleep(lasts).await;
            lab.set_read_only(0, false).await.unwrap();
        }
        // A write that went astray would be executed.
        Fault::ReplicaWritable => {
            lab.set_read_only(replica, false).await.unwrap();
            sleep(lasts).await;
            lab.set_read_only(replica, true).await.unwrap();
        }
        Fault::Net(fault) => {
            doors.net(ordinal, Some(fault));
            sleep(lasts).await;
            doors.net(ordinal, None);
        }
        Fault::NotReady => {
            doors.stage.set_ready(ordinal, false).unwrap();
            sleep(lasts).await;
            doors.stage.set_ready(ordinal, true).unwrap();
        }
        Fault::Dns(fault) => {
            doors.dns_fault(Some(fault));
            sleep(lasts).await;
            doors.dns_fault(None);
        }
        Fault::DnsStale => {
            doors.stage.dns.freeze();
            sleep(lasts * 3).await;
            doors.stage.dns.thaw();
        }
        Fault::DnsFlapping => {
            doors.stage.dns.alternate();
            sleep(lasts * 3).await;
            doors.stage.dns.thaw();
        }
        Fault::DnsEmpty => {
            doors.dns_fault(Some(DnsFault::NxDomain));
            sleep(lasts * 3).await;
            doors.dns_fault(None);
        }
    }
}
