//! What each fault does to connections.

use super::*;
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const LONG_ENOUGH: Duration = Duration::from_millis(100);

/// An echo server, and a proxy in front of it.
async fn echo() -> FaultProxy {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = server.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let any = "127.0.0.1:0".parse().unwrap();
    FaultProxy::start(any, target).await.unwrap()
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// The part of `text` that is echoed: less than all of it if the connection is cut.
async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    while heard.len() < text.len() {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => heard.extend(&buffer[..n]),
        }
    }
    Ok(String::from_utf8(heard).unwrap())
}

#[tokio::test]
async fn what_is_said_arrives_and_every_fault_is_what_it_says() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, "hello").await.unwrap(), "hello");

    for stuck in [NetFault::BlackHole, NetFault::HalfOpen] {
        proxy.set_fault(Some(stuck));
        let mut late = connect(&proxy).await;
        assert!(timeout(LONG_ENOUGH, ask(&mut stream, "a")).await.is_err());
        assert!(timeout(LONG_ENOUGH, ask(&mut late, "b")).await.is_err());
        proxy.set_fault(None);
        // The bytes that were held back arrive now.
        let mut byte = [0];
        timeout(SOON, stream.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(byte, *b"a");
        timeout(SOON, late.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(byte, *b"b");
    }

    proxy.set_fault(Some(NetFault::Slow(LONG_ENOUGH)));
    let began = tokio::time::Instant::now();
    assert_eq!(ask(&mut stream, "late").await.unwrap(), "late");
    assert!(began.elapsed() >= LONG_ENOUGH * 2);

    proxy.set_fault(Some(NetFault::CutAfter(3)));
    assert_eq!(ask(&mut stream, "ab").await.unwrap(), "ab");
    assert_eq!(ask(&mut stream, "cd").await.unwrap_or_default(), "c");
}

#[tokio::test]
async fn round_trips_are_counted_on_all_connections_together() {
    let proxy = echo().await;
    let mut streams = [connect(&proxy).await, connect(&proxy).await];
    for (count, text) in ["a", "b", "c"].into_iter().enumerate() {
        for stream in &mut streams {
            assert_eq!(ask(stream, text).await.unwrap(), text);
        }
        assert_eq!(proxy.round_trips(), 2 * (count as u64 + 1));
    }
}

#[tokio::test]
async fn forgotten_connections_stay_silent_and_new_ones_are_served() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    assert_eq!(ask(&mut old, "x").await.unwrap(), "x");
    proxy.forget_flows();
    let mut new = connect(&proxy).await;
    assert_eq!(ask(&mut new, "y").await.unwrap(), "y");
    proxy.set_fault(None);
    assert!(timeout(LONG_ENOUGH, ask(&mut old, "z")).await.is_err());
}

#[tokio::test]
async fn new_connections_can_be_refused_or_swallowed_while_existing_ones_go_on() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    assert_eq!(ask(&mut old, "x").await.unwrap(), "x");

    proxy.set_fault(Some(NetFault::SwallowNew));
    tokio::task::yield_now().await;
    let mut swallowed = connect(&proxy).await;
    assert!(
        timeout(LONG_ENOUGH, ask(&mut swallowed, "a"))
            .await
            .is_err()
    );
    assert_eq!(ask(&mut old, "b").await.unwrap(), "b");

    proxy.set_fault(Some(NetFault::RefuseNew));
    timeout(SOON, async {
        while TcpStream::connect(proxy.address()).await.is_ok() {}
    })
    .await
    .unwrap();
    assert_eq!(ask(&mut old, "c").await.unwrap(), "c");
}

#[tokio::test]
async fn after_a_cut_no_connection_leads_to_the_target_of_before() {
    let (proxy, other) = (echo().await, echo().await);
    let mut idle = connect(&proxy).await;
    assert_eq!(ask(&mut idle, "x").await.unwrap(), "x");
    proxy.set_target(other.address());
    proxy.cut();
    let mut byte = [0];
    let heard = timeout(SOON, idle.read(&mut byte)).await.unwrap();
    assert_eq!(heard.unwrap_or_default(), 0);
    let mut next = connect(&proxy).await;
    assert_eq!(ask(&mut next, "y").await.unwrap(), "y");
    other.cut();
    let heard = timeout(SOON, next.read(&mut byte)).await.unwrap();
    assert_eq!(heard.unwrap_or_default(), 0, "it leads to the other one");
}

#[tokio::test]
async fn an_address_that_refuses_or_hangs_up_serves_again_once_healed() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    assert_eq!(ask(&mut stream, "x").await.unwrap(), "x");

    proxy.set_fault(Some(NetFault::AcceptThenClose));
    tokio::task::yield_now().await;
    let mut turned_away = connect(&proxy).await;
    let heard = timeout(SOON, ask(&mut turned_away, "x")).await.unwrap();
    assert_eq!(heard.unwrap_or_default(), "");
    assert_eq!(ask(&mut stream, "y").await.unwrap(), "y");

    proxy.set_fault(Some(NetFault::Refuse));
    let heard = timeout(SOON, ask(&mut stream, "z")).await.unwrap();
    assert_eq!(heard.unwrap_or_default(), "");
    timeout(SOON, async {
        while TcpStream::connect(proxy.address()).await.is_ok() {}
    })
    .await
    .unwrap();

    proxy.set_fault(None);
    timeout(SOON, async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(proxy.address()).await
                && ask(&mut stream, "again")
                    .await
                    .is_ok_and(|heard| heard == "again")
            {
                break;
            }
        }
    })
    .await
    .unwrap();
}
