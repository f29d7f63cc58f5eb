//! Hand-made DNS messages, and a scripted DNS, for the tests of this module.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::ResolveError;
use super::ladder::Ask;
use super::recording::RecorderRef;

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(super) fn srv(owner: &str, ttl: u32, port: u16, target: &str) -> Record {
    Record::from_rdata(
        name(owner),
        ttl,
        RData::SRV(SRV::new(0, 33, port, name(target))),
    )
}

pub(super) fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), ttl, RData::A(A(Ipv4Addr::from(address))))
}

pub(super) fn aaaa(owner: &str, ttl: u32, address: Ipv6Addr) -> Record {
    Record::from_rdata(name(owner), ttl, RData::AAAA(AAAA(address)))
}

pub(super) fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 5, RData::CNAME(CNAME(name(target))))
}

pub(super) fn message(answers: Vec<Record>, additionals: Vec<Record>) -> Message {
    let mut message = Message::response(0, OpCode::Query);
    message.add_answers(answers);
    message.add_additionals(additionals);
    message
}

/// The scripted DNS's answer to one query.
#[derive(Clone, Debug)]
pub(super) enum Say {
    Records(Vec<Record>, Vec<Record>),
    NoData,
    ServFail,
    Truncated,
}

/// Answers from a table. A name that is not in it gets NXDOMAIN, and a name with only other types
/// gets NODATA.
#[derive(Debug, Default)]
pub(super) struct Script {
    table: Mutex<BTreeMap<(String, RecordType), Say>>,
    asked: Mutex<Vec<String>>,
    delay: Mutex<Duration>,
}

impl Script {
    pub(super) fn set(&self, name: &str, kind: RecordType, say: Say) {
        self.table
            .lock()
            .unwrap()
            .insert((name.to_owned(), kind), say);
    }

    pub(super) fn remove(&self, name: &str) {
        self.table
            .lock()
            .unwrap()
            .retain(|(known, _), _| known != name);
    }

    pub(super) fn clear(&self) {
        self.table.lock().unwrap().clear();
    }

    pub(super) fn a(&self, name: &str, addresses: &[[u8; 4]]) {
        let records = addresses
            .iter()
            .map(|address| a(name, 5, *address))
            .collect();
        self.set(name, RecordType::A, Say::Records(records, vec![]));
    }

    /// How long each answer takes.
    pub(super) fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// The queries since the last call, as `SRV mysql.`, sorted.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.sort_unstable();
        asked
    }
}

impl Ask for Script {
    async fn ask(
        &self,
        name: &str,
        kind: RecordType,
        _: RecorderRef<'_>,
    ) -> Result<Message, ResolveError> {
        // Refuses bad names, as the client does.
        Name::from_ascii(name).map_err(|error| ResolveError::Config {
            name: name.to_owned(),
            message: error.to_string(),
        })?;
        self.asked.lock().unwrap().push(format!("{kind} {name}"));
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let table = self.table.lock().unwrap();
        let name = name.to_owned();
        match table.get(&(name.clone(), kind)).cloned() {
            Some(Say::Records(answers, additionals)) => Ok(message(answers, additionals)),
            Some(Say::NoData) => Err(ResolveError::NoData { name }),
            Some(Say::ServFail) => Err(ResolveError::ServerFailure {
                name,
                code: "Server Failure".to_owned(),
                server: None,
            }),
            Some(Say::Truncated) => Err(ResolveError::Truncated { name, server: None }),
            None if table.keys().any(|(known, _)| *known == name) => {
                Err(ResolveError::NoData { name })
            }
            None => Err(ResolveError::NotFound {
                name: name.clone(),
                asked: vec![name],
            }),
        }
    }
}
