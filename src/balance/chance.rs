//! Random numbers for ties, pauses and the times of probes.
//!
//! Owns one generator per thread. Its numbers must not be used for secrets. No other source of
//! random numbers may be used in this folder, or a simulation could not be repeated.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
//! generators", 2014): no lock, no branch, a few instructions per number. `rand::rngs::SmallRng` is
//! not used because a pick is a pure function of one number and derives its further random numbers
//! with `scramble`.

use std::cell::Cell;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

thread_local! {
    static STATE: Cell<u64> = Cell::new(rand::random());
}

/// A new uniform random number.
#[inline]
pub(crate) fn draw() -> u64 {
    STATE.with(|state| {
        let seed = state.get();
        state.set(seed.wrapping_add(GOLDEN));
        scramble(seed)
    })
}

/// A new uniform random number in `[0, 1)`.
pub(super) fn fraction() -> f64 {
    (draw() >> 11) as f64 / (1u64 << 53) as f64
}

/// Derives an independent number from `seed`: the finalizer of SplitMix64.
#[inline]
pub(super) fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Seeds the generator of this thread: from now on all random choices of balancers on this thread
/// follow from `seed`. For repeatable simulations on a single-threaded runtime.
#[doc(hidden)]
pub fn seed_chance(seed: u64) {
    STATE.set(seed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_one_others() {
        let numbers = |seed| {
            seed_chance(seed);
            [(); 100].map(|()| draw())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn there_is_no_other_source_of_chance_in_this_folder() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/balance");
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let others = files.filter(|file| file.is_file() && !file.ends_with("chance.rs"));
        for file in others {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("rand::"), "{}", file.display());
        }
    }

    #[test]
    fn fractions_are_spread_evenly_over_one() {
        seed_chance(1);
        let mut tenths = [0; 10];
        for _ in 0..100_000 {
            tenths[(fraction() * 10.0) as usize] += 1;
        }
        // A hundred is one standard deviation.
        assert!(
            tenths.iter().all(|n| (9_500..=10_500).contains(n)),
            "{tenths:?}"
        );
    }
}
