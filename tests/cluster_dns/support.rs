//! A Service, a resolver as an application has it, and hand-made messages.

use std::io;
use std::time::Duration;

use headless_mysql_testkit::dns::{ClusterDns, PodSpec, ServiceSpec};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Edns, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

pub(crate) const MYSQL: &str = "mysql.default.svc.cluster.local.";
pub(crate) const MYSQL_0: &str = "mysql-0.mysql.default.svc.cluster.local.";
/// Longer than anything here takes; only a broken test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn pods(count: u8) -> impl Iterator<Item = PodSpec> {
    (0..count).map(|i| PodSpec::ready(format!("mysql-{i}"), [10, 244, 1, i]))
}

pub(crate) fn mysql(count: u8) -> ServiceSpec {
    ServiceSpec::new("default", "mysql")
        .unnamed_port(3306)
        .with_pods(pods(count))
}

pub(crate) async fn dns_with(service: ServiceSpec) -> ClusterDns {
    let dns = ClusterDns::start().await.unwrap();
    dns.set_service(service);
    dns
}

/// A resolver as an application sets it up: no cache, EDNS, no hosts file.
pub(crate) fn resolver(dns: &ClusterDns) -> TokioResolver {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = dns.addr().port();
        connection
    });
    let server = NameServerConfig::new(dns.addr().ip(), true, connections.into());
    let mut options = ResolverOpts::default();
    options.cache_size = 0;
    options.edns0 = true;
    options.use_hosts_file = ResolveHosts::Never;
    options.attempts = 0;
    options.timeout = Duration::from_secs(5);
    TokioResolver::builder_with_config(
        ResolverConfig::from_parts(None, Vec::new(), vec![server]),
        TokioRuntimeProvider::default(),
    )
    .with_options(options)
    .build()
    .unwrap()
}

pub(crate) fn addresses(lookup: &Lookup) -> Vec<String> {
    let addresses = lookup.answers().iter().filter_map(|r| r.data.ip_addr());
    addresses.map(|address| address.to_string()).collect()
}

pub(crate) async fn first_address(resolver: &TokioResolver, name: &str) -> String {
    addresses(&resolver.lookup(name, RecordType::A).await.unwrap()).remove(0)
}

/// `None`: the lookup succeeded.
pub(crate) fn response_code(result: &Result<Lookup, NetError>) -> Option<ResponseCode> {
    use hickory_resolver::net::DnsError;
    match result.as_ref().err()? {
        NetError::Dns(DnsError::NoRecordsFound(none)) => Some(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => Some(*code),
        other => panic!("no response code: {other}"),
    }
}

pub(crate) fn query(id: u16, kind: RecordType, name: &str, edns: Option<u16>) -> Message {
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
    }
    message
}

pub(crate) struct Udp(pub(crate) UdpSocket);

impl Udp {
    pub(crate) async fn to(dns: &ClusterDns) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(dns.addr()).await.unwrap();
        Self(socket)
    }

    pub(crate) async fn send(&self, message: &Message) {
        self.0.send(&message.to_bytes().unwrap()).await.unwrap();
    }

    pub(crate) async fn receive(&self) -> (Message, usize) {
        let mut buffer = vec![0; 65_535];
        let received = tokio::time::timeout(PATIENCE, self.0.recv(&mut buffer));
        let length = received.await.expect("no answer").unwrap();
        (Message::from_vec(&buffer[..length]).unwrap(), length)
    }

    pub(crate) async fn ask(&self, message: &Message) -> Message {
        self.send(message).await;
        self.receive().await.0
    }
}

pub(crate) async fn ask_tcp(stream: &mut TcpStream, message: &Message) -> Message {
    ask_tcp_with_length(stream, message).await.0
}

pub(crate) async fn ask_tcp_with_length(
    stream: &mut TcpStream,
    message: &Message,
) -> (Message, usize) {
    // In one write: the second of two would wait for a delayed acknowledgement.
    stream.write_all(&framed(message)).await.unwrap();
    let received = tokio::time::timeout(PATIENCE, receive_tcp(stream));
    let buffer = received.await.expect("no answer").unwrap();
    (Message::from_vec(&buffer).unwrap(), buffer.len())
}

/// A message with its length in front.
pub(crate) fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_bytes().unwrap();
    let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

pub(crate) async fn receive_tcp(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}
