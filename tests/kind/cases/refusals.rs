//! Mistakes in the set-up, and how they are told.

use super::report::{Report, brief};
use super::world::{Outcome, Seat, World};
use headless_mysql::discovery::ResolveError;
use headless_mysql::error::ConnectError;
use headless_mysql::{Cluster, Error};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) async fn a_wrong_password_and_a_missing_service_are_told_apart(
    world: &impl World,
    report: &mut Report,
) -> Outcome {
    const WRONG: &str = "not-the-password";
    let config = world.config(Seat::Same, world.service());
    let cluster = Cluster::builder(config.with_password(WRONG))
        .connect()
        .await?;
    let began = Instant::now();
    let refused = cluster.primary().query_drop("DO 1").await;
    let took = began.elapsed();
    match refused {
        Err(Error::Connect(ConnectError::AccessDenied {
            code: 1045, user, ..
        })) if user == world.account().user => {}
        other => return Err(format!("with a wrong password: {other:?}").into()),
    }
    ensure!(
        took < Duration::from_secs(2),
        "the wrong password was told after {took:?}"
    );
    let read = cluster.replicas().query_drop("DO 1").await;
    let Err(error) = read else {
        return Err("a wrong password was let in".into());
    };
    ensure!(
        !format!("{error} {error:?}").contains(WRONG),
        "the password is in the error"
    );
    report.say(format!("a wrong password: told after {}", brief(took)));

    let wait = Duration::from_secs(1);
    // A full name: what a short one ends in is asked outside of the cluster at last, and what is
    // answered there is not ours.
    let (namespace, zone) = (world.namespace(), world.zone());
    let name = format!("no-such-service.{namespace}.svc.{zone}.");
    let config = world.config(Seat::Same, &name);
    let began = Instant::now();
    let missing = Cluster::builder(config.with_connect_wait(wait))
        .connect()
        .await;
    let took = began.elapsed();
    let Err(Error::Discovery {
        service, source, ..
    }) = missing
    else {
        return Err(format!("a missing Service: {missing:?}").into());
    };
    ensure!(service.contains("no-such-service"), "it names {service}");
    match *source {
        ResolveError::NotFound { .. } => {}
        other => return Err(format!("a missing Service: {other:?}").into()),
    }
    report.say(format!("a missing Service: told after {}", brief(took)));
    Ok(())
}
