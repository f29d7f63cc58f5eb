//! Decides which of the names that a short name may stand for are asked, and which one is
//! remembered.
//!
//! Pure. It must never let a host of another kind replace a Service that has been seen.

use crate::name::{is_service, service_of_pod};

/// The candidates to ask: first the one that answered last, then the others. Once a name in
/// Kubernetes' form has answered, only such names are asked. When the Service's last pod goes, a
/// host of the same name elsewhere on the search list (or a wildcard there) must not replace it.
pub(super) fn order(candidates: &[String], winner: Option<usize>) -> Vec<usize> {
    let strict = winner.is_some_and(|winner| is_kubernetes(&candidates[winner]));
    let rest = (0..candidates.len()).filter(|i| Some(*i) != winner);
    let rest = rest.filter(|i| !strict || is_kubernetes(&candidates[*i]));
    winner.into_iter().chain(rest).collect()
}

/// Whether to remember the candidate that answered. Not if a name in Kubernetes' form was passed
/// over for another kind of name, because the Service may only not exist yet.
pub(super) fn may_win(candidates: &[String], i: usize) -> bool {
    let passed_over = || candidates[..i].iter().any(|name| is_kubernetes(name));
    is_kubernetes(&candidates[i]) || !passed_over()
}

/// Whether the name has the form of a Kubernetes Service, or of a pod of a Service.
pub(super) fn is_kubernetes(name: &str) -> bool {
    is_service(name) || service_of_pod(name).is_some()
}
