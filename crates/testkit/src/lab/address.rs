//! Loopback addresses that belong to one lab of this machine exclusively.
//!
//! Owns the claim: a listener on port 3306 of `127.x.y.1`, held as long as the lab lives. It
//! reserves `127.x.y.2` to `127.x.y.254` for this lab, in this process and in every other. This
//! module must never return the same address twice, because a moved server must have a new address.
//! It must never use `127.0.0.0/16`, where servers outside of the lab listen.

use std::net::{Ipv4Addr, TcpListener};

use super::error::LabError;

/// The port of every server of every lab.
pub(crate) const PORT: u16 = 3306;

/// Blocks tried before giving up. There are about 65 000. More than a few fail only if a foreign
/// server listens on this port of every address.
const ATTEMPTS: u32 = 64;

/// The address blocks of one lab.
#[derive(Debug)]
pub(crate) struct Addresses {
    claims: Vec<TcpListener>,
    block: [u8; 2],
    next: u8,
}

impl Addresses {
    pub(crate) fn claim() -> Result<Self, LabError> {
        let (listener, block) = claim_block()?;
        Ok(Self {
            claims: vec![listener],
            block,
            next: 2,
        })
    }

    /// An address that this lab has never returned before. Claims another block when the current
    /// one is used up, and keeps the old block.
    pub(crate) fn fresh(&mut self) -> Result<Ipv4Addr, LabError> {
        if self.next == u8::MAX {
            let (listener, block) = claim_block()?;
            self.claims.push(listener);
            self.block = block;
            self.next = 2;
        }
        let address = Ipv4Addr::new(127, self.block[0], self.block[1], self.next);
        self.next += 1;
        Ok(address)
    }
}

fn claim_block() -> Result<(TcpListener, [u8; 2]), LabError> {
    let mut last = std::io::Error::other("nothing tried");
    for _ in 0..ATTEMPTS {
        let block = [rand::random_range(1..=254), rand::random_range(0..=255)];
        match TcpListener::bind((Ipv4Addr::new(127, block[0], block[1], 1), PORT)) {
            Ok(listener) => return Ok((listener, block)),
            Err(error) => last = error,
        }
    }
    Err(LabError::Addresses {
        attempts: ATTEMPTS,
        source: last,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_address_is_never_given_twice_even_beyond_one_block() {
        let mut one = Addresses::claim().unwrap();
        let mut other = Addresses::claim().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..300 {
            for address in [one.fresh().unwrap(), other.fresh().unwrap()] {
                let [first, second, _, last] = address.octets();
                assert!(first == 127 && second != 0, "{address}");
                assert!(last > 1 && last < 255, "{address}");
                assert!(seen.insert(address), "{address} was given twice");
            }
        }
    }
}
