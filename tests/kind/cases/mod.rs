//! What the crate promises in a Kubernetes cluster, as cases that run in two worlds.
//!
//! Owns the cases and the words they are written in ([`world::World`]). The same files are compiled
//! into the test target `kind_cases` of the crate (servers and a DNS on this machine) and into the
//! program `kind-suite` (a real cluster). A case must never know which of the two it is in: what
//! differs (how long things take) is asked of the world.

/// Ends a case unless something holds.
macro_rules! ensure {
    ($holds:expr, $($otherwise:tt)+) => {
        if !$holds {
            return Err(format!($($otherwise)+).into());
        }
    };
}

/// Calls a macro with every case: its file, its name and where the application stands in it.
macro_rules! every_case {
    ($with:ident) => {
        $with! {
            names::every_spelling_of_the_service_reaches_it_from_its_namespace, Same;
            names::spellings_with_the_namespace_reach_it_from_another_one, Elsewhere;
            names::a_pods_own_name_reaches_that_pod_alone, Same;
            names::the_services_name_has_the_addresses_of_all_pods, Same;
            names::each_ordinal_is_the_pod_of_that_name, Same;
            names::writes_go_to_ordinal_0_and_reads_to_the_others, Same;
            refusals::a_wrong_password_and_a_missing_service_are_told_apart, Same;
            pods::a_deleted_replica_costs_no_read_and_serves_again_at_its_new_address, Same;
            pods::a_deleted_primary_is_written_to_again_at_its_new_address, Same;
            pods::a_pod_that_is_not_ready_gets_no_reads_until_it_is, Same;
            scale::scaling_to_five_and_to_two_costs_no_operation, Same;
            scale::a_rolling_restart_costs_no_read_and_no_acknowledged_write, Same;
            dns::without_cluster_dns_nothing_fails, Same;
        }
    };
}

pub(crate) mod deployed;
pub(crate) mod dns;
pub(crate) mod load;
pub(crate) mod names;
pub(crate) mod pods;
pub(crate) mod refusals;
pub(crate) mod report;
pub(crate) mod scale;
pub(crate) mod under_load;
pub(crate) mod world;
