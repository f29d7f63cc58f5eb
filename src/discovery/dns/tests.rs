//! Tests of the module above that need no sockets.

use super::*;

#[tokio::test]
async fn building_checks_what_it_can() {
    let server = SocketAddr::from(([127, 0, 0, 1], 53));
    let search = SearchList::new(["default.svc.cluster.local"]);
    let builder = DnsResolver::builder("MySQL".parse().unwrap()).search(search);
    let resolver = builder.clone().name_servers(vec![server]).build().unwrap();
    assert_eq!(
        resolver.candidates(),
        ["mysql.default.svc.cluster.local.", "mysql."]
    );
    assert_eq!(resolver.describe(), "mysql");
    assert!(format!("{resolver:?}").contains("127.0.0.1:53"));
    let error = builder.name_servers(vec![]).build().unwrap_err();
    assert_eq!(
        error,
        ResolveError::NoServer {
            name: "mysql".to_owned()
        }
    );
    let builder = DnsResolver::builder("mysql".parse().unwrap()).name_servers(vec![server]);
    let long = "x".repeat(64);
    for name in ["", "a.b", "a b", "-a", &long] {
        let name = Some(name.to_owned());
        let port = builder.clone().port_name(name.clone()).build();
        let set = builder.clone().statefulset(name).build();
        for result in [port, set] {
            assert_eq!(result.unwrap_err().kind(), "config");
        }
    }
}
