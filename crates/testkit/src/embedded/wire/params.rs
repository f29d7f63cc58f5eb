//! The parameters of a prepared statement.

use std::collections::BTreeMap;
use std::io;

use mysql_async::Value;
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_common::io::ParseBuf;
use mysql_common::value::{BinValue, ValueDeserializer};

use super::super::datum::Datum;
use super::super::refusal::Refusal;

/// The state of a statement's parameters that is kept between executions.
#[derive(Debug)]
pub(in super::super) struct Bound {
    count: usize,
    /// The client sends the types with the first execution only.
    types: Vec<(ColumnType, ColumnFlags)>,
    /// Long parameters that were sent ahead, in pieces, by index.
    long: BTreeMap<usize, Vec<u8>>,
}

impl Bound {
    pub(in super::super) fn new(count: usize) -> Self {
        Self {
            count,
            types: Vec::new(),
            long: BTreeMap::new(),
        }
    }

    /// Appends a piece of a long parameter. The body is the parameter's index, then bytes.
    pub(in super::super) fn append(&mut self, body: &[u8]) {
        if let Some((number, piece)) = body.split_first_chunk() {
            let number = usize::from(u16::from_le_bytes(*number));
            self.long.entry(number).or_default().extend(piece);
        }
    }

    /// Drops the long parameters that were sent ahead.
    pub(in super::super) fn forget(&mut self) {
        self.long.clear();
    }

    /// Decodes the parameters from the body of an execution, after the statement's id.
    pub(in super::super) fn decode(&mut self, body: &[u8]) -> Result<Vec<Datum>, Refusal> {
        let long = std::mem::take(&mut self.long);
        if self.count == 0 {
            return Ok(Vec::new());
        }
        let decoded = self.read(body, long);
        decoded.ok_or_else(|| Refusal::new(1210, "Incorrect arguments to EXECUTE"))
    }

    fn read(&mut self, body: &[u8], mut long: BTreeMap<usize, Vec<u8>>) -> Option<Vec<Datum>> {
        // The cursor type, and an iteration count that is always one.
        let (_, body) = body.split_at_checked(5)?;
        let (nulls, body) = body.split_at_checked(self.count.div_ceil(8))?;
        let (&new_types, mut body) = body.split_first()?;
        if new_types == 1 {
            let (types, rest) = body.split_at_checked(2 * self.count)?;
            let types = types.chunks_exact(2).map(|pair| kind(pair[0], pair[1]));
            self.types = types.collect::<Option<_>>()?;
            body = rest;
        }
        if self.types.len() != self.count {
            return None;
        }
        let mut rest = ParseBuf(body);
        let mut params = Vec::with_capacity(self.count);
        for (at, kind) in self.types.iter().enumerate() {
            let value = if let Some(long) = long.remove(&at) {
                Value::Bytes(long)
            } else if nulls[at / 8] >> (at % 8) & 1 == 1 {
                Value::NULL
            } else {
                let value: io::Result<ValueDeserializer<BinValue>> = rest.parse(*kind);
                value.ok()?.0
            };
            params.push(Datum::from(value));
        }
        Some(params)
    }
}

fn kind(kind: u8, flags: u8) -> Option<(ColumnType, ColumnFlags)> {
    // The highest bit marks an unsigned type.
    let flags = match flags & 0x80 {
        0 => ColumnFlags::empty(),
        _ => ColumnFlags::UNSIGNED_FLAG,
    };
    Some((ColumnType::try_from(kind).ok()?, flags))
}
