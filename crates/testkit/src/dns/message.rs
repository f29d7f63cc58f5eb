//! Encodes a response and cuts it to the size that the client or the protocol accepts.
//!
//! This module owns the encoding and the choice of what to omit from a response that is too large.
//! Both match the real servers byte for byte, because a client sees the result: from how many pods
//! on an answer is truncated, and what remains of it. hickory's encoder does not match: it needs
//! about thirty octets more and stops compressing after 120 names. This module must never decide
//! what the answer is.

use std::collections::HashMap;

use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{Edns, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::BinEncodable;

use super::answer::Answer;
use super::options::Flavor;
use super::request::Request;
use super::spec::Protocol;

const HEADER_LEN: usize = 12;
const OPT_LEN: usize = 11;
/// A compression pointer has fourteen bits.
const MAX_POINTER: usize = 0x3fff;
/// The largest length that the prefix of a TCP message can hold.
const MAX_TCP: usize = 0xffff;

/// The number of records in each section of a response.
type Counts = [usize; 3];

/// Encodes the response to a request.
///
/// # Errors
///
/// Only if a record cannot be encoded at all.
pub(super) fn encode(
    request: &Request,
    protocol: Protocol,
    answer: &Answer,
    truncated: bool,
) -> Result<Vec<u8>, ProtoError> {
    let limit = match protocol {
        Protocol::Udp => usize::from(request.max_payload()),
        Protocol::Tcp => MAX_TCP,
    };
    let mut reply = match answer.flavor {
        Flavor::CoreDns => coredns(request, limit, answer)?,
        Flavor::KubeDns => kubedns(request, limit, protocol, answer)?,
    };
    reply.truncated |= truncated;
    Ok(reply.finish(request))
}

/// Encodes as CoreDNS: uncompressed if that fits, else compressed and cut after the last record
/// that fits. The truncation flag is set if any record is missing, including glue, even over TCP.
fn coredns<'a>(
    request: &'a Request,
    limit: usize,
    answer: &'a Answer,
) -> Result<Reply<'a>, ProtoError> {
    let edns = request.edns.as_ref();
    let reserved = edns.map_or(0, |_| OPT_LEN);
    let reply = |writer, counts: Counts| Reply {
        writer,
        counts,
        truncated: counts != answer.counts(),
        edns,
        answer,
        code: answer.response_code,
    };
    let mut plain = Writer::new(request, false);
    for record in answer.sections().into_iter().flatten() {
        plain.record(record)?;
    }
    if plain.bytes.len() + reserved <= limit {
        return Ok(reply(plain, answer.counts()));
    }

    let budget = limit.saturating_sub(reserved);
    let mut packed = Writer::new(request, true);
    let mut kept = [0; 3];
    let mut full = false;
    for (section, kept) in answer.sections().into_iter().zip(&mut kept) {
        for record in section {
            let before = packed.bytes.len();
            // The first record that reaches the limit exactly is kept; all later ones are dropped.
            full = full || before >= budget;
            if !full {
                packed.record(record)?;
                full = packed.bytes.len() > budget;
            }
            if full {
                packed.bytes.truncate(before);
                break;
            }
            *kept += 1;
        }
    }
    Ok(reply(packed, kept))
}

/// Encodes as kube-dns: always compressed, without an OPT record. A response that is too large
/// loses all of its glue, without the truncation flag. If it is still too large, it is cut and
/// flagged over UDP, and becomes SERVFAIL over TCP.
fn kubedns<'a>(
    request: &'a Request,
    limit: usize,
    protocol: Protocol,
    answer: &'a Answer,
) -> Result<Reply<'a>, ProtoError> {
    let mut writer = Writer::new(request, true);
    let [answers, authority, additional] = answer.sections();
    // The message's length after each number of answers.
    let mut lengths = vec![writer.bytes.len()];
    for record in answers {
        writer.record(record)?;
        lengths.push(writer.bytes.len());
    }
    for record in authority {
        writer.record(record)?;
    }
    let without_glue = writer.bytes.len();
    for record in additional {
        writer.record(record)?;
    }
    let mut reply = Reply {
        counts: answer.counts(),
        truncated: false,
        edns: None,
        answer,
        code: answer.response_code,
        writer,
    };
    if reply.writer.bytes.len() < limit {
        return Ok(reply);
    }
    reply.counts[2] = 0;
    reply.writer.bytes.truncate(without_glue);
    if without_glue < limit {
        return Ok(reply);
    }
    let kept = match protocol {
        Protocol::Tcp => {
            reply.code = ResponseCode::ServFail;
            0
        }
        Protocol::Udp => {
            reply.truncated = true;
            answers_kept(&lengths, limit)
        }
    };
    reply.counts = [kept, 0, 0];
    let length = lengths.get(kept).copied().unwrap_or(HEADER_LEN);
    reply.writer.bytes.truncate(length);
    Ok(reply)
}

/// The number of answers that kube-dns keeps: all but the last of those that fit, and at least one.
fn answers_kept(lengths: &[usize], limit: usize) -> usize {
    let fitting = lengths.partition_point(|length| *length < limit);
    fitting.saturating_sub(1).max(1).min(lengths.len() - 1)
}

/// A response without its header and OPT record.
#[derive(Debug)]
struct Reply<'a> {
    writer: Writer,
    counts: Counts,
    truncated: bool,
    edns: Option<&'a Edns>,
    answer: &'a Answer,
    code: ResponseCode,
}

#[derive(Debug)]
struct Writer {
    bytes: Vec<u8>,
    /// The offset at which each name and each of its parents was first written, by its uncompressed
    /// bytes. `None`: no compression.
    names: Option<HashMap<Vec<u8>, u16>>,
}

impl Reply<'_> {
    /// Adds the OPT record and fills in the header.
    fn finish(self, request: &Request) -> Vec<u8> {
        let Self {
            mut writer, answer, ..
        } = self;
        let [answers, authority, mut additional] = self.counts;
        if let Some(edns) = self.edns {
            writer.bytes.push(0);
            writer.u16(RecordType::OPT.into());
            writer.u16(edns.max_payload());
            writer.u32(u32::from(edns.flags().dnssec_ok) << 15);
            writer.u16(0);
            additional += 1;
        }

        let flag = |set: bool, bit: u16| u16::from(set) << bit;
        let wish = request.metadata.recursion_desired && answer.repeats_recursion_desired;
        let flags = flag(true, 15)
            | flag(answer.authoritative, 10)
            | flag(self.truncated, 9)
            | flag(wish, 8)
            | flag(answer.recursion_available, 7)
            | flag(request.metadata.checking_disabled, 4)
            | u16::from(self.code.low());
        // Each record has at least eleven octets, so no section exceeds the range of its counter.
        let [answers, authority, additional] =
            [answers, authority, additional].map(|count| u16::try_from(count).unwrap_or(u16::MAX));
        let header = [
            request.metadata.id,
            flags,
            1,
            answers,
            authority,
            additional,
        ];
        for (field, value) in writer.bytes.chunks_exact_mut(2).zip(header) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        writer.bytes
    }
}

impl Writer {
    fn new(request: &Request, compress: bool) -> Self {
        let mut writer = Self {
            bytes: vec![0; HEADER_LEN],
            names: compress.then(HashMap::new),
        };
        // Only fills the table of names; the question's bytes are copied from the query.
        writer.name(request.query.name(), false);
        writer.bytes.truncate(HEADER_LEN);
        writer.bytes.extend_from_slice(&request.question);
        writer
    }

    fn record(&mut self, record: &Record) -> Result<(), ProtoError> {
        self.name(&record.name, true);
        self.u16(record.record_type().into());
        self.u16(record.dns_class.into());
        self.u32(record.ttl);
        let length_at = self.bytes.len();
        self.u16(0);
        match &record.data {
            RData::CNAME(alias) => self.name(&alias.0, true),
            RData::PTR(pointer) => self.name(&pointer.0, true),
            RData::SOA(soa) => {
                self.name(&soa.mname, true);
                self.name(&soa.rname, true);
                self.u32(soa.serial);
                for value in [soa.refresh, soa.retry, soa.expire] {
                    self.bytes.extend_from_slice(&value.to_be_bytes());
                }
                self.u32(soa.minimum);
            }
            // Names in SRV data are written uncompressed, but later names may point to them.
            RData::SRV(srv) => {
                self.u16(srv.priority);
                self.u16(srv.weight);
                self.u16(srv.port);
                self.name(&srv.target, false);
            }
            other => self.bytes.extend(other.to_bytes()?),
        }
        let length = self.bytes.len() - length_at - 2;
        let length = u16::try_from(length).map_err(|_| ProtoError::Message("data too long"))?;
        self.bytes[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn name(&mut self, name: &Name, may_point: bool) {
        let start = self.bytes.len();
        let mut whole = Vec::with_capacity(name.len() + 1);
        let mut labels = Vec::new();
        for label in name.iter() {
            labels.push(whole.len());
            // The cast is lossless: a label has at most 63 octets.
            whole.push(label.len() as u8);
            whole.extend_from_slice(label);
        }
        whole.push(0);
        if let Some(names) = &mut self.names {
            for label in labels {
                let (rest, here) = (&whole[label..], start + label);
                match names.get(rest) {
                    Some(at) if may_point => {
                        self.bytes.extend_from_slice(&whole[..label]);
                        self.bytes.extend_from_slice(&(0xc000 | at).to_be_bytes());
                        return;
                    }
                    Some(_) => break,
                    None if here <= MAX_POINTER => {
                        // The cast is lossless: the offset has at most fourteen bits.
                        names.insert(rest.to_vec(), here as u16);
                    }
                    None => {}
                }
            }
        }
        self.bytes.extend_from_slice(&whole);
    }

    fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }
}

impl Answer {
    fn sections(&self) -> [&[Record]; 3] {
        [&self.answers, &self.authority, &self.additional]
    }

    fn counts(&self) -> Counts {
        self.sections().map(<[_]>::len)
    }
}

#[cfg(test)]
mod tests;
