//! CPU time of processes, according to the kernel.

use headless_mysql_testkit::stage::Stage;
use std::time::Duration;

/// The unit of CPU time in `/proc` on Linux.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that a process has used, in user and kernel mode.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The program's name, in parentheses, may contain spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// CPU time of the client (this process), of all servers, and of the proxy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) client: Duration,
    pub(crate) server: Duration,
    pub(crate) proxy: Duration,
}

impl Usage {
    pub(crate) fn now(stage: &Stage, proxy: u32) -> Self {
        let servers = stage.lab.ordinals().into_iter();
        Self {
            client: cpu(std::process::id()),
            server: servers
                .filter_map(|ordinal| stage.lab.process_id(ordinal))
                .map(cpu)
                .sum(),
            proxy: cpu(proxy),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            client: self.client.saturating_sub(before.client),
            server: self.server.saturating_sub(before.server),
            proxy: self.proxy.saturating_sub(before.proxy),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.client += other.client;
        self.server += other.server;
        self.proxy += other.proxy;
    }
}
