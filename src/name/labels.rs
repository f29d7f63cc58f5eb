//! The syntax of DNS and Kubernetes names: checks labels, and tells Service names from pod names by
//! their form.
//!
//! Owns the length limits and the allowed letters. It must never use a search list.

/// The longest DNS name in text form, without a trailing dot.
pub(super) const MAX_NAME: usize = 253;
/// The longest label of a DNS name.
pub(super) const MAX_LABEL: usize = 63;

/// Whether `label` is a lower-case DNS-1123 label: 1 to 63 of `a-z`, `0-9` and `-`, with no dash
/// at either end.
pub(crate) fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= MAX_LABEL
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// The name without its trailing dot, if it has one.
pub(super) fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether an absolute name has the form `<service>.<namespace>.svc.<zone>`.
pub(crate) fn is_service(name: &str) -> bool {
    let mut labels = without_dot(name).split('.').skip(2);
    labels.next() == Some("svc") && labels.next().is_some()
}

/// The Service in an absolute name of the form `<name>-<n>.<service>.<namespace>.svc.<zone>`.
pub(crate) fn service_of_pod(name: &str) -> Option<&str> {
    let (pod, service) = without_dot(name).split_once('.')?;
    let in_svc = service.split('.').nth(1) == Some("svc");
    (is_numbered(pod) && is_service(service) && !in_svc).then_some(service)
}

/// Whether a label ends in `-<n>`, as the names of a StatefulSet's pods do.
pub(super) fn is_numbered(label: &str) -> bool {
    label
        .rsplit_once('-')
        .is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}
