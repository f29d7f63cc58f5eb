//! Computes the length of a statement on the wire, to compare it with the server's limit.
//!
//! A server that receives more than its `max_allowed_packet` closes the connection during the
//! transfer. The client then often sees a reset instead of error 1153. So the length is checked
//! before anything is sent. The driver's own limit is unsuitable, because it limits received rows
//! as well.
//!
//! Owns the arithmetic. It must never refuse a statement that the server would accept.

use mysql_async::{Params, Value};

/// The longest payload of one packet. If the parameters together are longer, the driver sends each
/// parameter separately, and the limit applies to each one.
const ONE_PACKET: usize = (1 << 24) - 1;

/// The length of a text statement, including its command byte.
pub(crate) fn of_text(text: &[u8]) -> usize {
    text.len().saturating_add(1)
}

/// The length of an execution with these parameters, as far as the limit applies to it.
pub(crate) fn of_params(params: &Params) -> usize {
    match params {
        Params::Empty => 0,
        Params::Named(values) => of_values(values.values()),
        Params::Positional(values) => of_values(values.iter()),
    }
}

/// The length of a batch, as far as the limit applies to it. `together`: the driver sends all rows
/// in one packet.
pub(crate) fn of_batch(rows: &[Params], together: bool) -> usize {
    let sizes = rows.iter().map(of_params);
    match together {
        true => sizes.fold(0, usize::saturating_add),
        false => sizes.max().unwrap_or(0),
    }
}

fn of_values<'a>(values: impl Iterator<Item = &'a Value> + Clone) -> usize {
    let whole = values.clone().map(of_value).fold(0, usize::saturating_add);
    if whole <= ONE_PACKET {
        return whole;
    }
    values.map(of_value).max().unwrap_or(0)
}

fn of_value(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        // A lower bound: a few bytes do not matter.
        _ => 0,
    }
}

/// Splits rows into batches of at most `limit` bytes. A longer row becomes a batch of its own.
pub(crate) struct Batches<I> {
    rows: I,
    /// The row that did not fit into the last batch.
    next: Option<Params>,
    limit: usize,
}

/// An upper bound for the overhead of each value: its type, length and indicator.
const PER_VALUE: usize = 12;
/// An upper bound for the header of a batch.
const HEADER: usize = 64;

impl<I> Batches<I>
where
    I: Iterator,
    I::Item: Into<Params>,
{
    pub(crate) fn new(rows: I, limit: usize) -> Self {
        Self {
            rows,
            next: None,
            limit,
        }
    }

    fn row(&mut self) -> Option<Params> {
        let next = self.next.take();
        next.or_else(|| self.rows.next().map(Into::into))
    }
}

impl<I> Iterator for Batches<I>
where
    I: Iterator,
    I::Item: Into<Params>,
{
    type Item = Vec<Params>;

    fn next(&mut self) -> Option<Vec<Params>> {
        let first = self.row()?;
        let mut length = HEADER.saturating_add(in_batch(&first));
        let mut batch = vec![first];
        while let Some(row) = self.row() {
            length = length.saturating_add(in_batch(&row));
            if length > self.limit {
                self.next = Some(row);
                break;
            }
            batch.push(row);
        }
        Some(batch)
    }
}

/// An upper bound for the length of a row in a batch.
fn in_batch(row: &Params) -> usize {
    let of = |value: &Value| of_value(value) + PER_VALUE;
    match row {
        Params::Empty => 0,
        Params::Named(values) => values.values().map(of).sum(),
        Params::Positional(values) => values.iter().map(of).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(length: usize) -> Params {
        Params::Positional(vec![Value::Int(1), Value::Bytes(vec![b'x'; length])])
    }

    #[test]
    fn the_limit_is_on_all_parameters_together_or_on_each_if_they_are_sent_piece_by_piece() {
        assert_eq!(of_text(b"DO 1"), 5);
        assert_eq!(of_params(&Params::Empty), 0);
        assert_eq!(of_params(&row(1000)), 1000);
        let half = ONE_PACKET / 2;
        let bytes = |length| Value::Bytes(vec![0; length]);
        let together = Params::Positional(vec![bytes(half), bytes(half)]);
        assert_eq!(of_params(&together), half * 2);
        let apart = Params::Positional(vec![bytes(half), bytes(half + 2)]);
        assert_eq!(of_params(&apart), half + 2);
        let rows = [row(100), row(300), row(200)];
        assert_eq!(of_batch(&rows, true), 600);
        assert_eq!(of_batch(&rows, false), 300);
        assert_eq!(of_batch(&[], false), 0);
    }

    #[test]
    fn a_batch_is_cut_where_the_server_would_refuse_it() {
        let cut = |lengths: &[usize], limit| {
            let rows: Vec<Params> = lengths.iter().copied().map(row).collect();
            let batches = Batches::new(rows.into_iter(), limit);
            batches.map(|batch| batch.len()).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[], 1000), [0; 0]);
        assert_eq!(cut(&[100; 5], usize::MAX), [5]);
        assert_eq!(cut(&[400; 5], 1000), [2, 2, 1]);
        // A row that is too long by itself is refused later, before it is sent.
        assert_eq!(cut(&[10, 5000, 10], 1000), [1, 1, 1]);
    }
}
