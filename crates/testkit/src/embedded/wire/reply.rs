//! Answers: OK, errors, columns and rows, in the text and the binary format.

use mysql_async::consts::{ColumnFlags, ColumnType, StatusFlags};
use mysql_common::io::BufMutExt;

use super::super::answer::{Answer, Head};
use super::super::datum::Datum;
use super::super::refusal::Refusal;
use super::super::sql::Kind;
use super::packet::Wire;

/// utf8mb4_general_ci.
pub(super) const UTF8MB4: u8 = 45;
/// The character set of number columns.
const BINARY: u8 = 63;

/// The session state that every answer carries.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Status {
    pub(in super::super) in_transaction: bool,
    pub(in super::super) autocommit: bool,
    /// Whether another answer follows.
    pub(in super::super) more: bool,
}

impl Status {
    /// The status of a new session.
    pub(super) fn fresh() -> Self {
        Self {
            in_transaction: false,
            autocommit: true,
            more: false,
        }
    }

    fn bytes(self) -> [u8; 2] {
        let mut flags = StatusFlags::empty();
        flags.set(StatusFlags::SERVER_STATUS_IN_TRANS, self.in_transaction);
        flags.set(StatusFlags::SERVER_STATUS_AUTOCOMMIT, self.autocommit);
        flags.set(StatusFlags::SERVER_MORE_RESULTS_EXISTS, self.more);
        flags.bits().to_le_bytes()
    }
}

impl Wire {
    pub(in super::super) fn answer(&mut self, answer: &Answer, status: Status, binary: bool) {
        match answer {
            Answer::Done {
                affected,
                insert_id,
            } => self.ok(*affected, *insert_id, status),
            Answer::Rows { heads, rows } => {
                let mut count = Vec::new();
                count.put_lenenc_int(heads.len() as u64);
                self.packet(&count);
                self.columns(heads, status);
                for row in rows {
                    let row = match binary {
                        true => binary_row(heads, row),
                        false => text_row(row),
                    };
                    self.packet(&row);
                }
                self.end(status);
            }
        }
    }

    pub(super) fn ok(&mut self, affected: u64, insert_id: u64, status: Status) {
        let mut packet = vec![0];
        packet.put_lenenc_int(affected);
        packet.put_lenenc_int(insert_id);
        packet.extend(status.bytes());
        packet.extend([0, 0]);
        self.packet(&packet);
    }

    pub(in super::super) fn error(&mut self, refusal: &Refusal) {
        let mut packet = vec![0xff];
        packet.extend(refusal.code.to_le_bytes());
        packet.push(b'#');
        packet.extend(refusal.state());
        packet.extend(refusal.message.bytes());
        self.packet(&packet);
    }

    /// The answer to PREPARE.
    pub(in super::super) fn prepared(
        &mut self,
        id: u32,
        params: usize,
        heads: &[Head],
        status: Status,
    ) {
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
        let mut packet = vec![0];
        packet.extend(id.to_le_bytes());
        packet.extend(count(heads.len()));
        packet.extend(count(params));
        packet.extend([0, 0, 0]);
        self.packet(&packet);
        let param = Head {
            name: "?".to_owned(),
            kind: Kind::Text,
            unsigned: false,
        };
        if params > 0 {
            self.columns(&vec![param; params], status);
        }
        if !heads.is_empty() {
            self.columns(heads, status);
        }
    }

    fn columns(&mut self, heads: &[Head], status: Status) {
        for head in heads {
            self.packet(&column(head));
        }
        if !self.deprecates_eof {
            self.eof(status);
        }
    }

    /// Ends a result set.
    fn end(&mut self, status: Status) {
        if !self.deprecates_eof {
            return self.eof(status);
        }
        let [low, high] = status.bytes();
        self.packet(&[0xfe, 0, 0, low, high, 0, 0]);
    }

    fn eof(&mut self, status: Status) {
        let [low, high] = status.bytes();
        self.packet(&[0xfe, 0, 0, low, high]);
    }
}

fn column(head: &Head) -> Vec<u8> {
    let (kind, charset, decimals) = match head.kind {
        Kind::Int => (ColumnType::MYSQL_TYPE_LONGLONG, BINARY, 0),
        // 31 means that the number of decimals is not fixed.
        Kind::Float => (ColumnType::MYSQL_TYPE_DOUBLE, BINARY, 31),
        Kind::Text => (ColumnType::MYSQL_TYPE_VAR_STRING, UTF8MB4, 0),
    };
    let mut flags = ColumnFlags::empty();
    flags.set(ColumnFlags::UNSIGNED_FLAG, head.unsigned);
    let mut packet = Vec::new();
    packet.put_lenenc_str(b"def");
    // Empty schema and table names; then the column name and the original name, which are equal.
    packet.extend([0, 0, 0]);
    packet.put_lenenc_str(head.name.as_bytes());
    packet.put_lenenc_str(head.name.as_bytes());
    packet.extend([0x0c, charset, 0]);
    packet.extend(1024_u32.to_le_bytes());
    packet.push(kind as u8);
    packet.extend(flags.bits().to_le_bytes());
    packet.extend([decimals, 0, 0]);
    packet
}

fn text_row(row: &[Datum]) -> Vec<u8> {
    let mut packet = Vec::new();
    for value in row {
        match value {
            Datum::Null => packet.push(0xfb),
            value => packet.put_lenenc_str(&value.bytes()),
        }
    }
    packet
}

fn binary_row(heads: &[Head], row: &[Datum]) -> Vec<u8> {
    // The bitmap of NULLs has an offset of two bits.
    let mut nulls = vec![0_u8; (row.len() + 2).div_ceil(8)];
    let mut values = Vec::new();
    for (at, (head, value)) in heads.iter().zip(row).enumerate() {
        match (value, head.kind) {
            (Datum::Null, _) => nulls[(at + 2) / 8] |= 1 << ((at + 2) % 8),
            // Two's complement: the low 64 bits are correct for signed and unsigned numbers.
            (value, Kind::Int) => {
                values.extend((value.int().unwrap_or(0) as u64).to_le_bytes());
            }
            (value, Kind::Float) => {
                values.extend(value.float().unwrap_or(0.0).to_le_bytes());
            }
            (value, Kind::Text) => values.put_lenenc_str(&value.bytes()),
        }
    }
    [vec![0], nulls, values].concat()
}
