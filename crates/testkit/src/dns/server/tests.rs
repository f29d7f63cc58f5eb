//! The time limits for TCP clients. There are no real sockets, so the clock can be paused.

use hickory_resolver::proto::op::{Message, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{DuplexStream, duplex};
use tokio::time::Instant;

use super::super::spec::{PodSpec, ServiceSpec};
use super::*;

/// A conversation with a server that has enough pods for a large answer.
fn conversation(buffer: usize) -> (DuplexStream, JoinHandle<()>) {
    let shared = Arc::new(Shared::new());
    let pods = (0..100).map(|i| PodSpec::ready(format!("mysql-{i}"), [10, 244, 1, i]));
    let mysql = ServiceSpec::new("default", "mysql").with_pods(pods);
    shared.state().cluster.insert(mysql);
    let (client, server) = duplex(buffer);
    let task = tokio::spawn(async move { converse(&shared, server).await });
    (client, task)
}

fn query() -> Vec<u8> {
    let mut message = Message::query();
    let name = Name::from_ascii("mysql.default.svc.cluster.local.").unwrap();
    message.add_query(Query::query(name, RecordType::A));
    let bytes = message.to_vec().unwrap();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), &*bytes].concat()
}

async fn read_reply(client: &mut DuplexStream) -> usize {
    let length = client.read_u16().await.unwrap();
    let mut reply = vec![0; length.into()];
    client.read_exact(&mut reply).await.unwrap();
    Message::from_vec(&reply).unwrap().answers.len()
}

#[tokio::test(start_paused = true)]
async fn a_client_may_be_silent_between_queries_but_not_for_ever() {
    let (mut client, task) = conversation(65_536);
    for _ in 0..3 {
        tokio::time::sleep(TCP_IDLE - Duration::from_millis(1)).await;
        client.write_all(&query()).await.unwrap();
        assert_eq!(read_reply(&mut client).await, 100);
    }
    let begin = Instant::now();
    task.await.unwrap();
    assert_eq!(begin.elapsed(), TCP_IDLE);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "it is closed");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_the_middle_of_a_query_is_cut_off() {
    for sent in [1, 2, 3, query().len() - 1] {
        let (mut client, task) = conversation(65_536);
        client.write_all(&query()[..sent]).await.unwrap();
        let begin = Instant::now();
        task.await.unwrap();
        let patience = if sent < 2 { TCP_IDLE } else { TCP_READ };
        assert_eq!(begin.elapsed(), patience, "after {sent} octets");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let (mut client, task) = conversation(1000);
    client.write_all(&query()).await.unwrap();
    let begin = Instant::now();
    task.await.unwrap();
    assert_eq!(begin.elapsed(), TCP_WRITE);
}
