//! What is left to chance: ties, pauses, when an endpoint is probed.
//!
//! Owns the random numbers of this folder, a generator for each thread. Nothing secret may hang on
//! them; and no other source may be used here, or a simulation would not repeat itself.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
//! 2014): no lock, no branch, and a few instructions for each number.

use std::cell::Cell;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

thread_local! {
    static STATE: Cell<u64> = Cell::new(rand::random());
}

/// A fresh uniform number.
#[inline]
pub(crate) fn draw() -> u64 {
    STATE.with(|state| {
        let seed = state.get();
        state.set(seed.wrapping_add(GOLDEN));
        scramble(seed)
    })
}

/// A fresh uniform number from 0 up to, and without, 1.
pub(super) fn fraction() -> f64 {
    (draw() >> 11) as f64 / (1u64 << 53) as f64
}

/// The next independent number from one draw: the finalizer of SplitMix64.
#[inline]
pub(super) fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// From now on, whatever balancers leave to chance on this thread follows from `seed`: for simulations
/// on a runtime of one thread, which are to repeat themselves.
#[cfg(any(test, feature = "testkit"))]
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
