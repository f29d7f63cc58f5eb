//! Tests of the module above.

use super::*;
use crate::discovery::ResolveError as E;
use crate::discovery::testing::*;
use hickory_resolver::proto::rr::RecordType;

#[test]
fn every_way_to_write_a_server() {
    let host = |text: &str| {
        Host::parse(text, 3306).map(|host| {
            let address = host.address.map(|address| address.to_string());
            (host.name, address, host.port)
        })
    };
    for (text, name, address, port) in [
        ("10.0.0.7", "10.0.0.7", Some("10.0.0.7"), 3306),
        ("10.0.0.7:1", "10.0.0.7", Some("10.0.0.7"), 1),
        ("fd00::9", "fd00::9", Some("fd00::9"), 3306),
        ("[fd00::9]", "fd00::9", Some("fd00::9"), 3306),
        ("[fd00::9]:2", "fd00::9", Some("fd00::9"), 2),
        ("localhost", "localhost", Some("127.0.0.1"), 3306),
        ("db.example.com", "db.example.com", None, 3306),
        ("mysql-0.mysql.:3", "mysql-0.mysql.", None, 3),
        ("my_host", "my_host", None, 3306),
    ] {
        let expected = (name.to_owned(), address.map(str::to_owned), port);
        assert_eq!(host(text).unwrap(), expected, "{text}");
    }
    for text in [
        "",
        ".",
        "a..b",
        "a:0",
        "a:x",
        "a:",
        ":1",
        "a b",
        "[a]:1",
        "a/b",
        "a:1:2",
        "10.0.0.7:0",
    ] {
        assert!(matches!(host(text), Err(E::Config { .. })), "{text}");
    }
    let empty = HostList::builder([] as [&str; 0]).build();
    assert!(matches!(empty, Err(E::Config { .. })));
}

#[tokio::test]
async fn addresses_need_no_dns() {
    let list = HostList::builder(["127.0.0.1", "[::1]:3307"])
        .resolv_conf("/nowhere/at/all")
        .build()
        .unwrap();
    let answer = list.resolve().await.unwrap();
    let seen: Vec<_> = answer
        .pods
        .iter()
        .map(|pod| (pod.ordinal.map(Ordinal::get), pod.addresses[0], pod.port))
        .collect();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(
        seen,
        [
            (Some(0), address("127.0.0.1"), 3306),
            (Some(1), address("::1"), 3307)
        ]
    );
    assert!(answer.complete);
    assert_eq!(list.describe(), "127.0.0.1, ::1");
    let named = HostList::builder(["db"]).resolv_conf("/nowhere/at/all");
    assert!(matches!(named.build(), Err(E::Config { .. })));
}

#[tokio::test]
async fn an_alias_is_followed_and_its_records_must_be_its_own() {
    let dns = Script::default();
    let alias = |records| Say::Records(records, vec![]);
    let look_up = |name: &str| addresses(&dns, name.to_owned(), RecorderRef::NONE);
    dns.set(
        "db.",
        RecordType::A,
        alias(vec![
            cname("db.", "x.example."),
            a("x.example.", 5, [10, 0, 0, 1]),
        ]),
    );
    assert_eq!(
        look_up("db.").await.unwrap().0,
        [IpAddr::from([10, 0, 0, 1])]
    );
    assert_eq!(dns.asked(), ["A db."]);

    // First the alias alone, then a loop, then the record of an unrelated host.
    dns.set(
        "db.",
        RecordType::A,
        alias(vec![cname("db.", "y.example.")]),
    );
    dns.a("y.example.", &[[10, 0, 0, 2]]);
    assert_eq!(
        look_up("db.").await.unwrap().0,
        [IpAddr::from([10, 0, 0, 2])]
    );
    dns.set(
        "y.example.",
        RecordType::A,
        alias(vec![cname("y.example.", "db.")]),
    );
    let error = look_up("db.").await.unwrap_err();
    assert!(matches!(error, E::Foreign { .. }), "{error}");
    let stranger = vec![cname("db.", "y.example."), a("z.example.", 5, [6; 4])];
    dns.set("db.", RecordType::A, alias(stranger));
    let error = look_up("db.").await.unwrap_err();
    assert!(
        matches!(&error, E::Foreign { owner, .. } if owner == "z.example"),
        "{error}"
    );
}

#[tokio::test]
async fn a_stranger_of_the_same_name_never_takes_the_place_of_a_pod() {
    let search = SearchList::new(["default.svc.cluster.local", "corp.example"]).with_ndots(5);
    let (pod, stranger) = (
        "mysql-0.mysql.default.svc.cluster.local.",
        "mysql-0.mysql.corp.example.",
    );
    let dns = Script::default();
    let host = Host::parse("mysql-0.mysql", 3306).unwrap();
    let found = async || {
        let found = host.search(&search, &dns, RecorderRef::NONE).await;
        found.map(|(addresses, _)| addresses[0].to_string())
    };
    // A wildcard answers before the pod has been seen: not remembered.
    dns.a(stranger, &[[6; 4]]);
    assert_eq!(found().await.unwrap(), "6.6.6.6");
    dns.a(pod, &[[10, 0, 0, 1]]);
    dns.asked();
    assert_eq!(found().await.unwrap(), "10.0.0.1");
    assert_eq!(dns.asked(), [format!("A {pod}")]);
    // The pod restarts.
    dns.remove(pod);
    assert!(found().await.unwrap_err().is_absence());
    assert_eq!(dns.asked(), [format!("A {pod}")]);
}
