//! Prints numbers as bars.

use crate::say::say;
/// The length of the longest bar, in characters.
const WIDTH: u64 = 40;

/// Prints one bar per name, with its number and its share.
pub(crate) fn print(numbers: &[(String, u64)]) {
    let total: u64 = numbers.iter().map(|(_, number)| number).sum();
    let most = numbers.iter().map(|(_, number)| *number).max().unwrap_or(0);
    for (name, number) in numbers {
        let length = (number * WIDTH).checked_div(most).unwrap_or(0);
        // A number above zero gets a bar of at least one character.
        let length = length.max(u64::from(*number > 0));
        let bar: String = (0..length).map(|_| '█').collect();
        let share = *number as f64 * 100.0 / total.max(1) as f64;
        say!("  {name}  {bar:<40}  {number:>7}  {share:5.1} %");
    }
}
