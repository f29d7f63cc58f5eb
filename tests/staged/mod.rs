//! The options that connect to a stage.

use headless_mysql::Config;
use headless_mysql_testkit::pods::Pods;
use headless_mysql_testkit::stage::Stage;

pub(crate) trait Staged {
    /// Those of the stage's URL.
    fn config(&self) -> Config;
}

impl<P: Pods> Staged for Stage<P> {
    fn config(&self) -> Config {
        let url = self.url();
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}
