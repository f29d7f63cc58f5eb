//! Tests of the module above that need no sockets.

use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::OpCode;

use super::*;

fn verdict(result: Result<Message, NetError>) -> Verdict {
    let server = SocketAddr::from(([10, 96, 0, 10], 53));
    classify("mysql.", server, Duration::from_secs(1), result)
}

fn none(code: ResponseCode) -> Result<Message, NetError> {
    let query = Query::query(Name::root(), RecordType::SRV);
    Err(hickory_resolver::net::NoRecords::new(query, code).into())
}

#[test]
fn nothing_there_is_an_answer() {
    let answered = |result| match verdict(result) {
        Verdict::Answered(Err(error)) => error,
        other => panic!("{other:?}"),
    };
    let missing = answered(none(ResponseCode::NXDomain));
    assert!(matches!(&missing, ResolveError::NotFound { asked, .. } if asked == &["mysql."]));
    let empty = answered(none(ResponseCode::NoError));
    assert!(matches!(empty, ResolveError::NoData { .. }));
}

#[test]
fn a_server_that_cannot_say_is_not_asked_again() {
    for code in [
        ResponseCode::ServFail,
        ResponseCode::Refused,
        ResponseCode::Unknown(99),
    ] {
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.response_code = code;
        let dns = DnsError::ResponseCode(code);
        for result in [Ok(message), Err(NetError::Dns(dns)), none(code)] {
            let found = verdict(result);
            assert!(
                matches!(
                    &found,
                    Verdict::Failed(ResolveError::ServerFailure {
                        server: Some(_),
                        ..
                    })
                ),
                "{found:?}"
            );
        }
    }
    let found = verdict(Err(NetError::Truncated));
    assert!(matches!(
        found,
        Verdict::Failed(ResolveError::Truncated { .. })
    ));
}

#[test]
fn silence_may_be_broken() {
    let found = verdict(Err(NetError::Timeout));
    assert!(matches!(found, Verdict::Lost(ResolveError::Timeout { .. })));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let found = verdict(Err(refused.into()));
    assert!(matches!(found, Verdict::Lost(ResolveError::Io { .. })));
}

#[test]
fn the_failure_that_tells_most_is_kept() {
    let name = || "mysql.".to_owned();
    let server = None;
    let truncated = || ResolveError::Truncated {
        name: name(),
        server,
    };
    let failure = |code: &str| ResolveError::ServerFailure {
        name: name(),
        code: code.to_owned(),
        server,
    };
    let silent = || ResolveError::Timeout {
        name: name(),
        after: Duration::from_secs(1),
        server,
    };
    for (old, new, kept) in [
        (failure("a"), silent(), failure("a")),
        (silent(), failure("a"), failure("a")),
        (failure("a"), failure("b"), failure("b")),
        (truncated(), failure("a"), truncated()),
        (failure("a"), truncated(), truncated()),
    ] {
        assert_eq!(worse(old, new), kept);
    }
}
