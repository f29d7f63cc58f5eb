//! Reads `resolv.conf`, and notices when it has changed.

use parking_lot::Mutex;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::ResolveError;
use crate::name::SearchList;

pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of name servers; `resolv.conf` cannot name another.
const DNS_PORT: u16 = 53;
/// The time between two checks of the file.
const CHECK_EVERY: Duration = Duration::from_secs(1);

impl SearchList {
    /// The search list of this host, from `/etc/resolv.conf`. Reads the file on each call.
    ///
    /// # Errors
    ///
    /// [`ResolveError::Config`] if the file cannot be read.
    pub fn system() -> Result<Self, ResolveError> {
        Ok(Self::parse(&read(Path::new(RESOLV_CONF))?))
    }
}

/// A `resolv.conf` that is checked now and then.
///
/// A check reads a local file of a few lines, at most once per second. This takes microseconds, so
/// it is not moved to another thread.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    checked: Instant,
    text: String,
}

impl Watched {
    /// Reads the file for the first time.
    pub(super) fn open(path: PathBuf) -> Result<(Self, String), ResolveError> {
        let text = read(&path)?;
        let seen = Mutex::new(Seen {
            checked: Instant::now(),
            text: text.clone(),
        });
        Ok((Self { path, seen }, text))
    }

    /// The text, if the file has changed since it was last read. A file that is missing, or empty
    /// because it is being rewritten, counts as unchanged.
    pub(super) fn changed(&self) -> Option<String> {
        let mut seen = self.seen.lock();
        if seen.checked.elapsed() < CHECK_EVERY {
            return None;
        }
        seen.checked = Instant::now();
        let text = read(&self.path).ok()?;
        if text.is_empty() || text == seen.text {
            return None;
        }
        seen.text.clone_from(&text);
        Some(text)
    }
}

fn read(path: &Path) -> Result<String, ResolveError> {
    let bytes = fs::read(path).map_err(|error| ResolveError::Config {
        name: path.display().to_string(),
        message: error.to_string(),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The name servers in their order.
///
/// Parsed line by line, because hickory's parser refuses the whole file if it cannot read one
/// search domain. Link-local servers with a zone (`fe80::1%eth0`) are left out, because hickory
/// cannot reach them.
pub(super) fn parse_name_servers(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let server = address.map(|address| SocketAddr::new(address, DNS_PORT));
        servers.extend(server.filter(|server| !servers.contains(server)));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_in_order() {
        let text = "# nameserver 1.1.1.1\nnameserver 10.96.0.10\nsearch a..b _\nnameserver x\n\
                    nameserver\nnameserver fe80::1%eth0\n  nameserver\tfd00::10 # second\n\
                    nameserver 10.96.0.10\noptions ndots:5";
        let expected = ["10.96.0.10:53", "[fd00::10]:53"].map(|text| text.parse().unwrap());
        assert_eq!(parse_name_servers(text), expected);
        assert_eq!(parse_name_servers(""), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_once_it_has_changed() {
        let folder = std::env::temp_dir().join(format!("resolv-conf-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("resolv.conf");
        fs::write(&path, "search a.example").unwrap();
        let (file, text) = Watched::open(path.clone()).unwrap();
        assert_eq!(text, "search a.example");

        fs::write(&path, "search b.example c.example").unwrap();
        assert_eq!(file.changed(), None, "looked at a moment ago");
        tokio::time::advance(CHECK_EVERY).await;
        assert_eq!(
            file.changed().as_deref(),
            Some("search b.example c.example")
        );
        tokio::time::advance(CHECK_EVERY).await;
        assert_eq!(file.changed(), None);

        // Another file of the same length replaces it, as editors do.
        let other = folder.join("other");
        fs::write(&other, "search b.example d.example").unwrap();
        fs::rename(&other, &path).unwrap();
        tokio::time::advance(CHECK_EVERY).await;
        assert_eq!(
            file.changed().as_deref(),
            Some("search b.example d.example")
        );

        fs::remove_dir_all(&folder).unwrap();
        tokio::time::advance(CHECK_EVERY).await;
        assert_eq!(file.changed(), None);
        assert!(Watched::open(path).is_err());
    }
}
