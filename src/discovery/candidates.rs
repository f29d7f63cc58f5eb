//! Which of the names that a short name may stand for are asked, and which of them is remembered.
//! Pure. It must never let a host of another kind take the place of a Service that has been seen.

use crate::name::{is_service, service_of_pod};

/// The candidates to ask: the last winner first, then the others. Once a name of Kubernetes' form
/// has answered, only such names: when its last pod goes, a host of the same name elsewhere on the
/// search list (or a wildcard there) must not step in.
pub(super) fn order(candidates: &[String], winner: Option<usize>) -> Vec<usize> {
    let strict = winner.is_some_and(|winner| is_kubernetes(&candidates[winner]));
    let rest = (0..candidates.len()).filter(|i| Some(*i) != winner);
    let rest = rest.filter(|i| !strict || is_kubernetes(&candidates[*i]));
    winner.into_iter().chain(rest).collect()
}

/// Whether to remember who answered: not if a name of Kubernetes' form was passed over for another
/// kind of name, for it may only not exist yet.
pub(super) fn may_win(candidates: &[String], i: usize) -> bool {
    let passed_over = || candidates[..i].iter().any(|name| is_kubernetes(name));
    is_kubernetes(&candidates[i]) || !passed_over()
}

/// Whether the name has the form of a Kubernetes Service's, or of a pod's of one.
pub(super) fn is_kubernetes(name: &str) -> bool {
    is_service(name) || service_of_pod(name).is_some()
}
