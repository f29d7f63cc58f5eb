//! The balancer with a service other than MySQL: an echo service behind a headless Service.
//!
//! ```text
//! cargo run --example custom_discover
//! ```
//!
//! Three small TCP servers are the pods, and a cluster DNS double lists them. Four clients send
//! requests continuously, while one server dies and returns at another address. Every request must
//! be answered; otherwise the program ends with an error.
//!
//! The example shows how `Discovery` looks pods up, how `Endpoints` turns them into tower's
//! `Discover`, and how `Balance` uses that with your own service, request and error.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use headless_mysql::balance::{Balance, BalanceConfig, Class, Classify, Eligibility, Eligible};
use headless_mysql::discovery::DnsResolver;
use headless_mysql::name::Ordinal;
use headless_mysql::topology::{Discovery, EndpointAddress, Endpoints, RefreshConfig};
use headless_mysql_testkit::dns::{ClusterDns, PodSpec, ServiceSpec};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;

// === The client ===

/// One endpoint. It opens a connection for each request.
#[derive(Clone)]
struct Echo {
    at: EndpointAddress,
}

/// A line to echo, by any server or only by the one with ordinal 0.
#[derive(Clone)]
struct Line {
    text: String,
    leader_only: bool,
}

#[derive(Debug)]
struct EchoError(io::Error);

impl fmt::Display for EchoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for EchoError {}

impl Classify for EchoError {
    /// Echoing twice does no harm, so every failed request may be retried elsewhere.
    fn class(&self) -> Class {
        Class::Failure
    }
}

impl Eligible<Echo> for Line {
    fn eligible(&self, endpoint: &Echo) -> Eligibility {
        if self.leader_only && endpoint.at.ordinal() != Some(Ordinal::PRIMARY) {
            return Eligibility::No;
        }
        Eligibility::Yes {
            tier: 0,
            room: true,
        }
    }
}

impl Service<Line> for Echo {
    type Response = String;
    type Error = EchoError;
    type Future = Pin<Box<dyn Future<Output = Result<String, EchoError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EchoError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, line: Line) -> Self::Future {
        let server = self.at.socket();
        Box::pin(async move {
            let answer = timeout(Duration::from_secs(1), ask(server, &line.text)).await;
            let late = |_| Err(io::ErrorKind::TimedOut.into());
            answer.unwrap_or_else(late).map_err(EchoError)
        })
    }
}

async fn ask(server: SocketAddr, text: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(format!("{text}\n").as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer.trim_end().to_owned())
}

// === The stage ===

/// A pod. It answers each line with its name, its address and the line.
struct Pod {
    accepts: AbortHandle,
}

impl Pod {
    async fn start(name: &str, address: SocketAddr) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let greeting = format!("{name} at {}", address.ip());
        let accepts = tokio::spawn(async move {
            // Dropped with the task, so that the pod's connections end with the pod.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(echo(stream, greeting.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        let accepts = accepts.abort_handle();
        Ok((Self { accepts }, address))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn echo(stream: TcpStream, greeting: String) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream
        .write_all(format!("{greeting}: {line}").as_bytes())
        .await
}

/// The pods' addresses: different loopback addresses with the same port.
fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 83, 0, last).into()
}

async fn start_pods() -> io::Result<(Vec<Pod>, u16)> {
    // A port that is free at the first address may be taken at the others.
    for _ in 0..20 {
        let (first, address) = Pod::start("echo-0", SocketAddr::new(ip(1), 0)).await?;
        let port = address.port();
        let mut pods = vec![first];
        for n in 1..3 {
            let name = format!("echo-{n}");
            if let Ok((pod, _)) = Pod::start(&name, SocketAddr::new(ip(n + 1), port)).await {
                pods.push(pod);
            }
        }
        if pods.len() == 3 {
            return Ok((pods, port));
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The results of the clients.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    lost: AtomicUsize,
    done: AtomicBool,
    /// The number of answers by pod.
    by: Mutex<BTreeMap<String, usize>>,
}

impl Tally {
    fn by(&self) -> BTreeMap<String, usize> {
        let by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.clone()
    }

    /// Waits up to 20 s until the pod has answered.
    async fn seen(&self, pod: &str) -> Result<(), Failure> {
        let seen = async {
            while !self.by().contains_key(pod) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let late = format!("{pod} has answered nobody in 20 s");
        timeout(Duration::from_secs(20), seen)
            .await
            .map_err(|_| late.into())
    }
}

/// A client that sends lines continuously; only the leader may echo every tenth line.
async fn client(balance: Balance<Echo>, tally: Arc<Tally>, me: usize) {
    let mut n = 0;
    while !tally.done.load(Ordering::Relaxed) {
        n += 1;
        let (text, leader_only) = (format!("client {me}, line {n}"), n % 10 == 0);
        let line = Line {
            text: text.clone(),
            leader_only,
        };
        let result = balance.clone().oneshot(line).await;
        let answer = result.map(|served| served.into_parts().1);
        match answer.as_deref().map(|answer| answer.split_once(": ")) {
            Ok(Some((pod, echoed)))
                if echoed == text && (!leader_only || pod.starts_with("echo-0")) =>
            {
                tally.answered.fetch_add(1, Ordering::Relaxed);
                let mut by = tally.by.lock().unwrap_or_else(PoisonError::into_inner);
                *by.entry(pod.to_owned()).or_default() += 1;
            }
            Ok(other) => {
                println!("lost: {text} was answered with {other:?}");
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                println!("lost: {text}: {error}");
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let (mut pods, port) = start_pods().await?;
    let dns = ClusterDns::start().await?;
    let named = |n: u8| PodSpec::ready(format!("echo-{n}"), ip(n + 1));
    let service = ServiceSpec::new("default", "echo").unnamed_port(port);
    dns.set_service(service.with_pods((0..3).map(named)));

    // Three lines: find the pods, create a service for each, and choose one for each request.
    let resolver = DnsResolver::builder("echo.default.svc.cluster.local".parse()?)
        .name_servers(vec![dns.addr()])
        .build()?;
    let runtime = Handle::current();
    let discovery = Discovery::start(Arc::new(resolver), RefreshConfig::default(), &runtime);
    let endpoints = Endpoints::new(&discovery, |at| {
        println!("endpoint {}: {}", at.key(), at.host());
        Echo { at: at.clone() }
    });
    let balance = Balance::new(endpoints, BalanceConfig::default(), &runtime);
    let nudged = discovery.clone();
    balance.on_trouble(move || nudged.resolve_now());

    let tally = Arc::new(Tally::default());
    let mut clients = JoinSet::new();
    for me in 0..4 {
        clients.spawn(client(balance.clone(), Arc::clone(&tally), me));
    }
    for n in 0..3 {
        tally.seen(&format!("echo-{n} at {}", ip(n + 1))).await?;
    }
    println!("all three answer");

    drop(pods.remove(1));
    println!("echo-1 is dead, and DNS does not know it yet");
    sleep(Duration::from_millis(500)).await;
    dns.remove_pod("default", "echo", "echo-1")?;
    println!("DNS does not list echo-1 any more");
    sleep(Duration::from_millis(500)).await;
    let (replacement, _) = Pod::start("echo-1", SocketAddr::new(ip(9), port)).await?;
    pods.push(replacement);
    dns.add_pod("default", "echo", PodSpec::ready("echo-1", ip(9)))?;
    println!("echo-1 is back, at {}", ip(9));
    tally.seen(&format!("echo-1 at {}", ip(9))).await?;

    tally.done.store(true, Ordering::Relaxed);
    clients.join_all().await;
    for (pod, answers) in tally.by() {
        println!("   {pod}: {answers} answers");
    }
    for endpoint in balance.endpoints() {
        println!("   {endpoint}");
    }
    let answered = tally.answered.load(Ordering::Relaxed);
    let lost = tally.lost.load(Ordering::Relaxed);
    println!("{answered} requests answered, {lost} lost");
    if lost > 0 {
        return Err(format!("{lost} requests were lost").into());
    }
    Ok(())
}
