//! A response as the bytes of one datagram, cut to the size the client takes.
//!
//! This module owns the encoding of UDP responses, done as CoreDNS does it: without compression if
//! that fits, else compressed and cut after the last record that fits, and flagged as truncated as
//! soon as any record is missing, glue included. hickory's encoder spends about thirty octets more
//! (its first owner name does not point at the question), so that six pods would be truncated where
//! a real cluster still answers in full. This module must never decide what the answer is.
//!
//! Responses over TCP are hickory's. It stops compressing after 120 names, so SRV answers with glue
//! are whole up to 465 pods (`mysql` in `default`), where CoreDNS gets beyond 700. Neither carries
//! 1000.

use std::collections::HashMap;

use hickory_server::proto::ProtoError;
use hickory_server::proto::op::{Edns, Metadata};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::proto::serialize::binary::BinEncodable;

use super::answer::Answer;

const HEADER_LEN: usize = 12;
const OPT_LEN: usize = 11;
/// Pointers have fourteen bits.
const MAX_POINTER: usize = 0x3fff;

/// Everything of a response but its records.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) metadata: &'a Metadata,
    /// The question as it was asked.
    pub(super) name: &'a Name,
    /// The question section as it came in.
    pub(super) question: &'a [u8],
    /// The response's OPT record: there is one if the client sent one.
    pub(super) edns: Option<&'a Edns>,
    /// The largest datagram the client takes.
    pub(super) limit: usize,
}

/// Encodes a response.
///
/// # Errors
///
/// Only if a record cannot be encoded at all.
pub(super) fn encode(envelope: &Envelope<'_>, answer: &Answer) -> Result<Vec<u8>, ProtoError> {
    let mut plain = Writer::new(envelope, false)?;
    for record in answer.records() {
        plain.record(record)?;
    }
    let reserved = envelope.edns.map_or(0, |_| OPT_LEN);
    if plain.bytes.len() + reserved <= envelope.limit {
        return Ok(plain.finish(envelope, answer.counts(), false));
    }

    let budget = envelope.limit.saturating_sub(reserved);
    let mut packed = Writer::new(envelope, true)?;
    let mut kept = [0; 3];
    let mut full = false;
    for (section, kept) in answer.sections().into_iter().zip(&mut kept) {
        for record in section {
            let before = packed.bytes.len();
            // A record that fits exactly is the last one, too.
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
    let truncated = kept != answer.counts();
    Ok(packed.finish(envelope, kept, truncated))
}

#[derive(Debug)]
struct Writer {
    bytes: Vec<u8>,
    /// Where each name and each of its parents was written first. None: do not compress.
    names: Option<HashMap<Vec<Vec<u8>>, u16>>,
}

// === impl Writer ===

impl Writer {
    fn new(envelope: &Envelope<'_>, compress: bool) -> Result<Self, ProtoError> {
        let mut writer = Self {
            bytes: vec![0; HEADER_LEN],
            names: compress.then(HashMap::new),
        };
        // For its entries in the table; the bytes are the client's own.
        writer.name(envelope.name, false);
        writer.bytes.truncate(HEADER_LEN);
        writer.bytes.extend_from_slice(envelope.question);
        Ok(writer)
    }

    fn record(&mut self, record: &Record) -> Result<(), ProtoError> {
        self.name(&record.name, true);
        self.u16(record.record_type().into());
        self.u16(record.dns_class.into());
        self.u32(record.ttl);
        let length_at = self.bytes.len();
        self.u16(0);
        match &record.data {
            // Names in SRV data are written in full, but may be pointed at.
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
        let labels: Vec<Vec<u8>> = name.iter().map(<[u8]>::to_vec).collect();
        for (index, label) in labels.iter().enumerate() {
            let here = self.bytes.len();
            if let Some(names) = &mut self.names {
                let rest = &labels[index..];
                match names.get(rest) {
                    Some(at) if may_point => {
                        let pointer = 0xc000 | at;
                        self.u16(pointer);
                        return;
                    }
                    Some(_) => {}
                    None if here <= MAX_POINTER => {
                        // Fits: it is at most fourteen bits.
                        names.insert(rest.to_vec(), here as u16);
                    }
                    None => {}
                }
            }
            // A `Name` has no label of more than 63 octets.
            self.bytes.push(label.len() as u8);
            self.bytes.extend_from_slice(label);
        }
        self.bytes.push(0);
    }

    fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Adds the OPT record and fills in the header.
    fn finish(mut self, envelope: &Envelope<'_>, counts: [u16; 3], truncated: bool) -> Vec<u8> {
        let [answers, authority, mut additional] = counts;
        if let Some(edns) = envelope.edns {
            self.bytes.push(0);
            self.u16(RecordType::OPT.into());
            self.u16(edns.max_payload());
            let dnssec_ok = u32::from(edns.flags().dnssec_ok) << 15;
            self.u32(u32::from(edns.version()) << 16 | dnssec_ok);
            self.u16(0);
            additional += 1;
        }

        let metadata = envelope.metadata;
        let flag = |set: bool, bit: u16| u16::from(set) << bit;
        let flags = flag(true, 15)
            | u16::from(u8::from(metadata.op_code)) << 11
            | flag(metadata.authoritative, 10)
            | flag(metadata.truncation || truncated, 9)
            | flag(metadata.recursion_desired, 8)
            | flag(metadata.checking_disabled, 4)
            | u16::from(metadata.response_code.low());
        let header = [metadata.id, flags, 1, answers, authority, additional];
        for (field, value) in self.bytes.chunks_exact_mut(2).zip(header) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        self.bytes
    }
}

// === impl Answer ===

impl Answer {
    fn sections(&self) -> [&[Record]; 3] {
        [&self.answers, &self.authority, &self.additional]
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.sections().into_iter().flatten()
    }

    /// Saturating: more records than that are cut anyway.
    fn counts(&self) -> [u16; 3] {
        self.sections()
            .map(|section| u16::try_from(section.len()).unwrap_or(u16::MAX))
    }
}

#[cfg(test)]
mod tests;
