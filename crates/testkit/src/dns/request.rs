//! Parses a received query.
//!
//! This module decides which bytes are a query, and rejects all others. It must never panic,
//! whatever the bytes are.

use hickory_resolver::proto::op::{
    Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::serialize::binary::{
    BinDecodable, BinDecoder, BinEncodable, DecodeError,
};

/// The smallest UDP payload size that every client accepts.
const MIN_PAYLOAD: u16 = 512;

/// The result of reading a message.
#[derive(Debug)]
pub(super) enum Received {
    Request(Request),
    /// Not a query, or a malformed one: the reply to send back.
    Rejected(Vec<u8>),
    /// A response gets no answer, because two servers could otherwise answer each other for ever.
    Ignored,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) metadata: Metadata,
    pub(super) query: Query,
    /// The bytes of the question section.
    pub(super) question: Vec<u8>,
    pub(super) edns: Option<Edns>,
}

/// Parses a query by the rules of the DNS library of CoreDNS and kube-dns.
pub(super) fn read(bytes: &[u8]) -> Received {
    let mut decoder = BinDecoder::new(bytes);
    let Ok(header) = Header::read(&mut decoder) else {
        return Received::Ignored;
    };
    let (metadata, counts) = (header.metadata, header.counts);
    if metadata.message_type == MessageType::Response {
        return Received::Ignored;
    }
    if !matches!(metadata.op_code, OpCode::Query | OpCode::Notify) {
        return reject(metadata, metadata.op_code, ResponseCode::NotImp);
    }
    let is_query = counts.queries == 1
        && counts.answers <= 1
        && counts.authorities <= 1
        && counts.additionals <= 2;
    match read_sections(bytes, metadata, &counts, &mut decoder) {
        Ok(request) if is_query => Received::Request(request),
        _ => reject(metadata, OpCode::Query, ResponseCode::FormErr),
    }
}

fn read_sections(
    bytes: &[u8],
    metadata: Metadata,
    counts: &HeaderCounts,
    decoder: &mut BinDecoder<'_>,
) -> Result<Request, DecodeError> {
    let start = decoder.index();
    let query = Query::read(decoder)?;
    let question = bytes.get(start..decoder.index()).unwrap_or_default();
    let mut edns = None;
    for (count, is_additional) in [
        (counts.answers, false),
        (counts.authorities, false),
        (counts.additionals, true),
    ] {
        let count = usize::from(count);
        let (_, found, _) = Message::read_records(decoder, count, is_additional, metadata.op_code)?;
        edns = edns.or(found);
    }
    Ok(Request {
        metadata,
        query,
        question: question.to_vec(),
        edns,
    })
}

/// A response that consists of a header only.
fn reject(request: Metadata, op_code: OpCode, code: ResponseCode) -> Received {
    let mut metadata = Metadata::new(request.id, MessageType::Response, op_code);
    metadata.recursion_desired = request.recursion_desired;
    metadata.response_code = code;
    let header = Header {
        metadata,
        counts: HeaderCounts::default(),
    };
    match header.to_bytes() {
        Ok(bytes) => Received::Rejected(bytes),
        Err(_) => Received::Ignored,
    }
}

impl Request {
    /// The largest datagram that the client accepts.
    pub(super) fn max_payload(&self) -> u16 {
        let stated = self.edns.as_ref().map(Edns::max_payload);
        stated.unwrap_or(MIN_PAYLOAD).max(MIN_PAYLOAD)
    }

    pub(super) fn dnssec_ok(&self) -> bool {
        self.edns
            .as_ref()
            .is_some_and(|edns| edns.flags().dnssec_ok)
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn query() -> Vec<u8> {
        let mut message = Message::query();
        let name = Name::from_ascii("MySQL.default.svc.cluster.local.").unwrap();
        message.metadata.id = 77;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, RecordType::SRV));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
        message.to_vec().unwrap()
    }

    /// The response code of the rejection; `None` if the bytes are ignored.
    fn rejection(bytes: &[u8]) -> Option<ResponseCode> {
        match read(bytes) {
            Received::Rejected(reply) => {
                let reply = Message::from_vec(&reply).unwrap();
                assert_eq!(reply.metadata.id, 77);
                assert_eq!(reply.metadata.message_type, MessageType::Response);
                Some(reply.metadata.response_code)
            }
            Received::Ignored => None,
            Received::Request(request) => panic!("taken for a query: {request:?}"),
        }
    }

    #[test]
    fn a_query_keeps_its_spelling_and_its_bytes() {
        let bytes = query();
        let Received::Request(request) = read(&bytes) else {
            panic!("not taken for a query");
        };
        assert_eq!(
            request.query.name().to_ascii(),
            "MySQL.default.svc.cluster.local."
        );
        assert_eq!(request.question, bytes[12..12 + request.question.len()]);
        assert_eq!(request.max_payload(), 1232);
        assert!(!request.dnssec_ok());
    }

    #[test]
    fn what_is_no_query_is_turned_down_or_left_alone() {
        let mut response = query();
        response[2] |= 0x80;
        assert_eq!(rejection(&response), None);
        let mut update = query();
        update[2] |= 5 << 3;
        assert_eq!(rejection(&update), Some(ResponseCode::NotImp));
        for count in [0, 2] {
            let mut several = query();
            several[5] = count;
            assert_eq!(rejection(&several), Some(ResponseCode::FormErr));
        }
        let whole = query();
        for length in 0..whole.len() {
            let code = rejection(&whole[..length]);
            let expected = (length >= 12).then_some(ResponseCode::FormErr);
            assert_eq!(code, expected, "cut after {length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_damage_to_a_query_is_too_strange(at in 0..60_usize, byte in any::<u8>()) {
            let mut bytes = query();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = read(&bytes);
        }
    }
}
