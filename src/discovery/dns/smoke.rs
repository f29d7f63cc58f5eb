//! Tests with real packets and a real clock: how hickory handles them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::discovery::testing::*;
use crate::name::Ordinal;

const SERVICE: &str = "mysql.default.svc.cluster.local.";

/// The server's reaction to each query for a name and type that it knows.
#[derive(Clone, Debug)]
enum Act {
    Answer(Vec<Record>, Vec<Record>),
    Code(ResponseCode),
    Drop,
}

type Table = Arc<Mutex<BTreeMap<(String, RecordType), Act>>>;
type Log = Arc<Mutex<Vec<String>>>;

struct Handler {
    table: Table,
    log: Log,
    /// The reaction to names that are not in the table.
    otherwise: Act,
}

impl Handler {
    /// The bytes to send back for a query; `None` to send nothing.
    fn reply(&self, query: &[u8], transport: &str) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let asked = query.queries[0].clone();
        let key = (
            asked.name().to_ascii().to_ascii_lowercase(),
            asked.query_type(),
        );
        self.log
            .lock()
            .unwrap()
            .push(format!("{transport} {} {}", key.1, key.0));
        let act = self.table.lock().unwrap().get(&key).cloned();
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.add_query(asked);
        if let Some(edns) = query.edns.clone() {
            response.set_edns(edns);
        }
        match act.unwrap_or_else(|| self.otherwise.clone()) {
            Act::Answer(answers, additionals) => {
                response.add_answers(answers);
                response.add_additionals(additionals);
            }
            Act::Code(code) => response.metadata.response_code = code,
            Act::Drop => return None,
        }
        let bytes = response.to_vec().unwrap();
        if transport == "tcp" || bytes.len() <= usize::from(query.max_payload()) {
            return Some(bytes);
        }
        response.metadata.truncation = true;
        response.answers.clear();
        response.additionals.clear();
        Some(response.to_vec().unwrap())
    }

    async fn serve_udp(self: Arc<Self>, socket: UdpSocket) {
        let mut query = vec![0; 65_535];
        loop {
            let (length, client) = socket.recv_from(&mut query).await.unwrap();
            if let Some(reply) = self.reply(&query[..length], "udp") {
                socket.send_to(&reply, client).await.unwrap();
            }
        }
    }

    /// Serves one client after the other, because there is only one.
    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; length.into()];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(reply) = self.reply(&query, "tcp") {
                    let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                    stream
                        .write_all(&[&length, &*reply].concat())
                        .await
                        .unwrap();
                }
            }
        }
    }
}

struct Running {
    address: SocketAddr,
    table: Table,
    log: Log,
    /// The server's tasks, which end when this is dropped.
    _tasks: JoinSet<()>,
}

impl Running {
    async fn start(otherwise: Act) -> Self {
        let (table, log) = (Table::default(), Log::default());
        let handler = Arc::new(Handler {
            table: Arc::clone(&table),
            log: Arc::clone(&log),
            otherwise,
        });
        let (address, udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            if let Ok(udp) = UdpSocket::bind(address).await {
                break (address, udp, tcp);
            }
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&handler).serve_udp(udp));
        tasks.spawn(handler.serve_tcp(tcp));
        Self {
            address,
            table,
            log,
            _tasks: tasks,
        }
    }

    fn set(&self, name: &str, kind: RecordType, act: Act) {
        self.table
            .lock()
            .unwrap()
            .insert((name.to_owned(), kind), act);
    }

    fn pods(&self, count: u8) {
        let host = |n: &u8| format!("mysql-{n}.{SERVICE}");
        let targets = (0..count)
            .map(|n| srv(SERVICE, 30, 3306, &host(&n)))
            .collect();
        let glue = (0..count)
            .map(|n| a(&host(&n), 30, [10, 0, 0, n]))
            .collect();
        self.set(SERVICE, RecordType::SRV, Act::Answer(targets, glue));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

async fn nothing() -> Running {
    Running::start(Act::Code(ResponseCode::NXDomain)).await
}

fn resolver(servers: &[SocketAddr]) -> DnsResolver {
    DnsResolver::builder("mysql".parse().unwrap())
        .search(SearchList::new([
            "default.svc.cluster.local",
            "svc.cluster.local",
        ]))
        .name_servers(servers.to_vec())
        .timeout(Duration::from_millis(500))
        .deadline(Duration::from_secs(5))
        .build()
        .unwrap()
}

#[tokio::test]
async fn three_pods_are_one_query() {
    let dns = nothing().await;
    dns.pods(3);
    let resolver = resolver(&[dns.address]);
    for _ in 0..2 {
        let answer = resolver.resolve().await.unwrap();
        let ordinals: Vec<_> = answer.pods.iter().map(|pod| pod.ordinal).collect();
        assert_eq!(ordinals, [0, 1, 2].map(|n| Some(Ordinal::new(n))));
        assert_eq!(answer.ttl, Some(Duration::from_secs(30)));
        assert_eq!(
            dns.asked(),
            [format!("udp SRV {SERVICE}")],
            "and nothing is cached"
        );
    }
}

#[tokio::test]
async fn many_pods_come_over_tcp() {
    #[cfg(feature = "metrics")]
    let recorder = crate::observe::testing::Recorder::default();
    #[cfg(feature = "metrics")]
    let _recording = metrics::set_default_local_recorder(&recorder);
    let dns = nothing().await;
    // More pods than fit into 512 bytes.
    dns.pods(9);
    let resolver = resolver(&[dns.address]);
    assert_eq!(resolver.resolve().await.unwrap().pods.len(), 9);
    assert_eq!(dns.asked().len(), 1, "EDNS is on");
    dns.pods(100);
    assert_eq!(resolver.resolve().await.unwrap().pods.len(), 100);
    assert_eq!(
        dns.asked(),
        [format!("udp SRV {SERVICE}"), format!("tcp SRV {SERVICE}")]
    );
    #[cfg(feature = "metrics")]
    {
        let queries = |labels: &str| {
            let key = format!("{}{{{labels}}}", crate::observe::DNS_QUERIES);
            recorder.counters().get(&key).copied()
        };
        assert_eq!(queries("protocol=UDP,outcome=ok"), Some(1));
        assert_eq!(queries("protocol=UDP,outcome=truncated"), Some(1));
        assert_eq!(queries("protocol=TCP,outcome=ok"), Some(1));
    }
}

#[tokio::test]
async fn a_failing_server_is_no_missing_name_and_is_asked_once() {
    let dns = nothing().await;
    dns.set(SERVICE, RecordType::SRV, Act::Code(ResponseCode::ServFail));
    let error = resolver(&[dns.address]).resolve().await.unwrap_err();
    match error {
        ResolveError::ServerFailure { name, server, .. } => {
            assert_eq!((&*name, server), (SERVICE, Some(dns.address)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(dns.asked().len(), 1);
}

#[tokio::test]
async fn an_alias_is_foreign_also_before_srv() {
    let dns = nothing().await;
    let stranger = "mysql.example.";
    let records = vec![
        cname(SERVICE, stranger),
        srv(stranger, 5, 3306, "mysql-0.mysql.example."),
    ];
    dns.set(SERVICE, RecordType::SRV, Act::Answer(records, vec![]));
    let error = resolver(&[dns.address]).resolve().await.unwrap_err();
    assert!(matches!(error, ResolveError::Foreign { .. }), "{error}");
    assert_eq!(dns.asked().len(), 1);
}

#[tokio::test]
async fn nothing_anywhere_is_not_found() {
    let dns = nothing().await;
    let error = resolver(&[dns.address]).resolve().await.unwrap_err();
    match error {
        ResolveError::NotFound { asked, .. } => assert_eq!(asked.len(), 3),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_next_server_is_asked_and_then_preferred() {
    let silent = Running::start(Act::Drop).await;
    let failing = Running::start(Act::Code(ResponseCode::Refused)).await;
    let good = nothing().await;
    good.pods(2);
    let resolver = resolver(&[silent.address, failing.address, good.address]);
    assert_eq!(resolver.resolve().await.unwrap().pods.len(), 2);
    assert!(!silent.asked().is_empty() && !failing.asked().is_empty());
    assert_eq!(resolver.resolve().await.unwrap().pods.len(), 2);
    assert!(silent.asked().is_empty() && failing.asked().is_empty());
}

#[tokio::test]
async fn silence_ends_in_time() {
    let dns = Running::start(Act::Drop).await;
    let begin = Instant::now();
    let error = resolver(&[dns.address]).resolve().await.unwrap_err();
    let took = begin.elapsed();
    assert!(matches!(error, ResolveError::Timeout { .. }), "{error}");
    // Twice the timeout, unless the deadline is earlier.
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(4),
        "{took:?}"
    );
}

/// Over UDP the pods do not fit. Over TCP each connection gets one answer; then it stays open and
/// silent, as if the server's node were gone.
#[tokio::test]
async fn a_dead_connection_is_left_after_one_look_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = UdpSocket::bind(listener.local_addr().unwrap())
        .await
        .unwrap();
    let address = socket.local_addr().unwrap();
    let (table, log) = (Table::default(), Log::default());
    let handler = Arc::new(Handler {
        table: Arc::clone(&table),
        log: Arc::clone(&log),
        otherwise: Act::Code(ResponseCode::NXDomain),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&handler).serve_udp(socket));
    tasks.spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.unwrap();
            let reply = handler.reply(&query, "tcp").unwrap();
            let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
            let message = [&length, &*reply].concat();
            stream.write_all(&message).await.unwrap();
            held.push(stream);
        }
    });
    let dns = Running {
        address,
        table,
        log,
        _tasks: tasks,
    };
    dns.pods(100);
    let resolver = resolver(&[dns.address]);
    assert_eq!(resolver.resolve().await.unwrap().pods.len(), 100);
    // The connection is dead now.
    let _ = resolver.resolve().await;
    assert_eq!(resolver.resolve().await.unwrap().pods.len(), 100);
}
