//! Checks whether a server's host name belongs to its pod.
//!
//! Owns the rule that refuses host names, and what is known about the host names of this cluster's
//! pods. It must never refuse the name of a node if pods are on the host network.

use crate::config::Verify;
use crate::name::Ordinal;
use std::sync::OnceLock;

/// What is known about host names. All pods of a cluster share it, for the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The StatefulSet with reliable host names: one of its pods has reported its own name.
    proven: OnceLock<String>,
}

impl Names {
    /// Whether a server that reports `hostname` may be the pod `expected`.
    ///
    /// `Auto` refuses the name of another ordinal of the same StatefulSet. After a pod of that
    /// StatefulSet has reported its own name, its pods' host names are reliable, and `Auto` refuses
    /// every other name.
    pub(crate) fn allow(
        &self,
        verify: Verify,
        hostname: &str,
        expected: &str,
        ordinal: Option<Ordinal>,
    ) -> bool {
        let label = hostname.split('.').next().unwrap_or(hostname);
        let is_own = label.eq_ignore_ascii_case(expected);
        let (Verify::Auto, Some(_)) = (verify, ordinal) else {
            return is_own || verify != Verify::Strict;
        };
        let Some(set) = statefulset(expected) else {
            return true;
        };
        if is_own {
            // An error only means that the StatefulSet was already known.
            let _ = self.proven.set(set);
            return true;
        }
        let is_sibling = statefulset(label).as_ref() == Some(&set);
        !is_sibling && self.proven.get() != Some(&set)
    }
}

/// The StatefulSet's name: `mysql` of `mysql-0`.
fn statefulset(pod: &str) -> Option<String> {
    let (set, number) = pod.rsplit_once('-')?;
    number.parse::<u32>().ok()?;
    Some(set.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(names: &Names, hostname: &str, expected: &str) -> bool {
        names.allow(Verify::Auto, hostname, expected, Some(Ordinal::PRIMARY))
    }

    #[test]
    fn a_foreign_name_is_refused_once_a_pod_of_the_set_has_reported_its_own() {
        let names = Names::default();
        // A node's name, as on the host network.
        assert!(auto(&names, "node-7.example.com", "mysql-0"));
        assert!(auto(&names, "orders-db-0", "mysql-0"));
        assert!(!auto(&names, "mysql-1", "mysql-0"));
        assert!(auto(&names, "MySQL-1.mysql.default.svc", "mysql-1"));
        assert!(!auto(&names, "orders-db-0", "mysql-0"));
        assert!(!auto(&names, "node-7", "mysql-0"));
        assert!(auto(&names, "mysql-0", "mysql-0"));
        // Nothing is known about another StatefulSet.
        assert!(auto(&names, "node-7", "other-0"));
    }

    #[test]
    fn the_option_decides_where_it_is_not_auto_and_a_pod_without_ordinal_may_have_any_name() {
        let names = Names::default();
        let primary = Some(Ordinal::PRIMARY);
        assert!(names.allow(Verify::Off, "mysql-1", "mysql-0", primary));
        assert!(!names.allow(Verify::Strict, "node-7", "mysql-0", primary));
        assert!(!names.allow(Verify::Strict, "node-7", "mysql-0", None));
        assert!(names.allow(Verify::Auto, "mysql-1", "mysql-0", None));
    }
}
