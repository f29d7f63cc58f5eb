//! The entry points for the fuzz targets: the functions that read input from the network or from
//! files.
//!
//! Compiled only for fuzz targets (`--cfg fuzzing`) and for tests, so that no program can use it.
//! It must never do more than turn bytes into the network's answers.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::RecordType;

use super::ladder::{Ask, Ladder, Wanted};
use super::recording::RecorderRef;
use super::{Answer, ResolveError, system};
use crate::name::Ordinal;

/// The Service that is looked up.
pub const SERVICE: &str = "mysql.default.svc.cluster.local";

/// A DNS that answers with the remaining bytes: one message for each query, preceded by its length
/// in two bytes. Lengths 0 to 2 stand for NXDOMAIN, NODATA and SERVFAIL. After the last message,
/// NXDOMAIN.
struct Wire<'a>(Mutex<&'a [u8]>);

impl Wire<'_> {
    fn next(&self) -> Option<Vec<u8>> {
        let mut left = self.0.lock().ok()?;
        let (length, rest) = left.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (message, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        *left = rest;
        Some(message.to_vec())
    }
}

impl Ask for Wire<'_> {
    async fn ask(
        &self,
        name: &str,
        _: RecordType,
        _: RecorderRef<'_>,
    ) -> Result<Message, ResolveError> {
        let name = name.to_owned();
        match self.next() {
            None => Err(not_found(name)),
            Some(bytes) if bytes.is_empty() => Err(not_found(name)),
            Some(bytes) if bytes.len() == 1 => Err(ResolveError::NoData { name }),
            Some(bytes) if bytes.len() == 2 => Err(ResolveError::ServerFailure {
                name,
                code: "Server Failure".to_owned(),
                server: None,
            }),
            Some(bytes) => Message::from_vec(&bytes).map_err(|error| ResolveError::Io {
                name,
                server: None,
                message: error.to_string(),
            }),
        }
    }
}

fn not_found(name: String) -> ResolveError {
    let asked = vec![name.clone()];
    ResolveError::NotFound { name, asked }
}

/// The result of a look-up of [`SERVICE`] if name servers answer with these bytes. `None` if the
/// look-up did not end at once, which must not happen.
pub fn look_up(bytes: &[u8], statefulset: Option<&str>) -> Option<Result<Answer, ResolveError>> {
    let wanted = Wanted {
        service: SERVICE.to_owned(),
        candidates: vec![format!("{SERVICE}.")],
        port: 3306,
        port_name: None,
        statefulset: statefulset.map(str::to_owned),
        default_set: "mysql".to_owned(),
        first_ordinal: Ordinal::PRIMARY,
        read_other_pods: false,
        // Makes each choice of a StatefulSet follow one of the two ways.
        allow_alias: statefulset.is_some(),
        patience: Duration::from_secs(3600),
    };
    let ladder = Ladder::new(wanted, None);
    let wire = Wire(Mutex::new(bytes));
    ladder.look_up(&wire, RecorderRef::NONE).now_or_never()
}

/// The name servers in the text of a `resolv.conf`.
pub fn name_servers(text: &str) -> Vec<SocketAddr> {
    system::parse_name_servers(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::*;
    use super::*;

    /// The messages in the format that the fuzz target reads.
    fn wire(messages: &[Message]) -> Vec<u8> {
        let bytes = messages.iter().map(|message| message.to_vec().unwrap());
        bytes
            .flat_map(|bytes| {
                let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                [length.to_vec(), bytes].concat()
            })
            .collect()
    }

    /// SRV with glue; SRV without glue, with the answers for the pods; only addresses.
    fn seeds() -> Vec<Vec<u8>> {
        let service = format!("{SERVICE}.");
        let pod = |n: u8| format!("mysql-{n}.{service}");
        let srvs = || {
            (0..3)
                .map(|n| srv(&service, 5, 3306, &pod(n)))
                .collect::<Vec<_>>()
        };
        let glue = || {
            (0..3)
                .map(|n| a(&pod(n), 5, [10, 0, 0, n]))
                .collect::<Vec<_>>()
        };
        let asked = (0..3).map(|n| message(vec![a(&pod(n), 5, [10, 0, 0, n])], vec![]));
        let all = (0..3)
            .map(|n| a(&service, 5, [10, 0, 0, n]))
            .collect::<Vec<_>>();
        let six = aaaa(&service, 5, "fd00::1".parse().unwrap());
        vec![
            wire(&[message(srvs(), glue())]),
            wire(
                &[
                    &[message(srvs(), vec![])][..],
                    &asked.clone().collect::<Vec<_>>(),
                ]
                .concat(),
            ),
            [
                vec![0, 1, 0],
                wire(&[message(all, vec![])]),
                wire(&asked.collect::<Vec<_>>()),
            ]
            .concat(),
            [vec![0, 1, 0, 0, 1, 0], wire(&[message(vec![six], vec![])])].concat(),
            wire(&[message(vec![cname(&service, "stranger.")], vec![])]),
        ]
    }

    #[test]
    fn messages_become_pods() {
        let ordinals = |bytes: &[u8]| -> Vec<_> {
            let answer = look_up(bytes, None).unwrap().unwrap();
            answer
                .pods
                .iter()
                .map(|pod| pod.ordinal.map(Ordinal::get))
                .collect()
        };
        let seeds = seeds();
        for seed in &seeds[..3] {
            assert_eq!(ordinals(seed), [Some(0), Some(1), Some(2)]);
        }
        assert_eq!(ordinals(&seeds[3]), [None]);
        let foreign = look_up(&seeds[4], None).unwrap().unwrap_err();
        assert_eq!(foreign.kind(), "foreign");
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            for (n, seed) in seeds.iter().enumerate() {
                let file = std::path::Path::new(&folder).join(n.to_string());
                // The first byte chooses the StatefulSet.
                std::fs::write(file, [&[0], &seed[..]].concat()).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn no_message_brings_it_down(
            seed in 0..5usize,
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut bytes = seeds().swap_remove(seed);
            for (at, to) in changes {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            prop_assert!(look_up(&bytes, None).is_some());
            prop_assert!(look_up(&bytes, Some("mysql")).is_some());
        }
    }
}
