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
}
