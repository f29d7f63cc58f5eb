//! The password and the certificates, as the files have them now.
//!
//! Owns the reading of files: when, how much, and what to do about one that is gone. Files are
//! looked at (not read) for every new connection, off the runtime's threads, and read when they
//! have changed. It must never print what it read, and never give up a good secret for a file
//! that cannot be read.

use super::tls;
use crate::config::{Config, Secret};
use crate::error::{ConnectError, FileProblem};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Far above any password and any bundle of authorities.
const LARGEST: u64 = 4 << 20;

/// How often files are read anew that are being exchanged meanwhile.
const ATTEMPTS: usize = 4;

/// What a connection is made with. Two that are equal have the same version.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Grows with every change.
    pub(super) version: u64,
    pub(super) password: Option<Secret>,
    pub(super) ca: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Tells whether a file is another one than before, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    /// Where it is and when it was changed: an exchanged symlink may lead to a file of the same
    /// length and time.
    marks: String,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let marks = {
            use std::os::unix::fs::MetadataExt as _;
            let place = (metadata.dev(), metadata.ino());
            let content = (metadata.mtime(), metadata.mtime_nsec());
            format!(
                "{:?}",
                (place, content, metadata.ctime(), metadata.ctime_nsec())
            )
        };
        #[cfg(not(unix))]
        let marks = format!("{:?}", metadata.modified());
        Self {
            length: metadata.len(),
            marks,
        }
    }
}

/// Where the credentials come from, and what they were when last looked at.
#[derive(Debug)]
pub(super) struct Vault {
    password: Option<Secret>,
    /// By option.
    files: Arc<[(&'static str, PathBuf)]>,
    /// Held while looking, so that an older content never replaces a newer one.
    known: tokio::sync::Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    stamps: Vec<Stamp>,
    current: Option<Arc<Credentials>>,
    /// An unreadable file is complained about once.
    complained: bool,
}

// === impl Vault ===

impl Vault {
    pub(super) fn new(config: &Config) -> Self {
        let files = [
            ("password_file", &config.password_file),
            ("ssl_ca", &config.tls.ca),
            ("ssl_cert", &config.tls.cert),
            ("ssl_key", &config.tls.key),
        ];
        let files: Arc<[_]> = files
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.clone()?)))
            .collect();
        // Without files this is all there will ever be.
        let fixed = files.is_empty().then(|| {
            Arc::new(Credentials {
                password: config.password.clone(),
                ..Credentials::default()
            })
        });
        Self {
            password: config.password.clone(),
            files,
            known: tokio::sync::Mutex::new(Known {
                current: fixed,
                ..Known::default()
            }),
        }
    }

    /// The credentials of this moment. With `doubt` the files are read even if they look as
    /// before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost; the next call looks again.
    pub(super) async fn newest(&self, doubt: bool) -> Result<Arc<Credentials>, ConnectError> {
        let mut known = self.known.lock().await;
        let known = &mut *known;
        if let (true, Some(fixed)) = (self.files.is_empty(), &known.current) {
            return Ok(Arc::clone(fixed));
        }
        let before = (!doubt && known.current.is_some()).then(|| known.stamps.clone());
        let files = Arc::clone(&self.files);
        let read = tokio::task::spawn_blocking(move || read_changed(&files, before.as_deref()));
        let read = read.await.unwrap_or_else(|join| {
            Err(file_error(
                &self.files[0],
                FileProblem::Unreadable,
                join.to_string(),
            ))
        });
        match (read, &known.current) {
            (Ok(None), Some(current)) => {
                known.complained = false;
                Ok(Arc::clone(current))
            }
            (Ok(None), None) => Err(file_error(
                &self.files[0],
                FileProblem::Unreadable,
                String::new(),
            )),
            (Ok(Some((stamps, found))), _) => {
                known.complained = false;
                known.stamps = stamps;
                Ok(self.take_in(known, found))
            }
            (Err(error), Some(current)) => {
                let current = Arc::clone(current);
                if !std::mem::replace(&mut known.complained, true) {
                    tracing::warn!("{error}; what it held before is still used");
                }
                Ok(current)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn take_in(&self, known: &mut Known, found: Credentials) -> Arc<Credentials> {
        let version = known.current.as_ref().map_or(0, |current| current.version);
        let mut found = Credentials { version, ..found };
        if !self
            .files
            .iter()
            .any(|(option, _)| *option == "password_file")
        {
            found.password = self.password.clone();
        }
        match &known.current {
            Some(current) if **current == found => Arc::clone(current),
            Some(_) => {
                found.version += 1;
                tracing::info!(
                    version = found.version,
                    "the password or a certificate has changed; new connections use it"
                );
                Arc::clone(known.current.insert(Arc::new(found)))
            }
            None => Arc::clone(known.current.insert(Arc::new(found))),
        }
    }
}

type Files = [(&'static str, PathBuf)];

fn file_error(file: &(&'static str, PathBuf), problem: FileProblem, cause: String) -> ConnectError {
    ConnectError::File {
        option: file.0,
        path: Box::new(file.1.clone()),
        problem,
        cause,
    }
}

/// What the files hold, or `None` if they look as `before`. All of one moment: a certificate must
/// not be paired with the next one's key.
fn read_changed(
    files: &Files,
    before: Option<&[Stamp]>,
) -> Result<Option<(Vec<Stamp>, Credentials)>, ConnectError> {
    let mut stamps = stamps(files)?;
    if before == Some(stamps.as_slice()) {
        return Ok(None);
    }
    for _ in 0..ATTEMPTS {
        let read = read_all(files);
        let now = self::stamps(files)?;
        if now == stamps {
            return read.map(|found| Some((stamps, found)));
        }
        stamps = now;
    }
    let cause = "it changes all the time".to_owned();
    Err(file_error(&files[0], FileProblem::Unreadable, cause))
}

fn stamps(files: &Files) -> Result<Vec<Stamp>, ConnectError> {
    let stamp = |file: &(&'static str, PathBuf)| match std::fs::metadata(&file.1) {
        // Of a pipe there would be no end.
        Ok(metadata) if !metadata.is_file() => Err(file_error(
            file,
            FileProblem::Unreadable,
            "not a file".to_owned(),
        )),
        Ok(metadata) => Ok(Stamp::of(&metadata)),
        Err(error) => Err(file_error(file, FileProblem::Unreadable, error.to_string())),
    };
    files.iter().map(stamp).collect()
}

fn read_all(files: &Files) -> Result<Credentials, ConnectError> {
    let (mut cert, mut key) = (None, None);
    let mut found = Credentials::default();
    for file in files {
        let content = read(&file.1).map_err(|(problem, cause)| file_error(file, problem, cause))?;
        let refuse = |problem| Err(file_error(file, problem, String::new()));
        let wanted = match file.0 {
            "password_file" => match as_password(content) {
                Ok(password) => {
                    found.password = Some(password);
                    continue;
                }
                Err(problem) => return refuse(problem),
            },
            "ssl_key" => "PRIVATE KEY-----",
            _ => "-----BEGIN CERTIFICATE-----",
        };
        if !String::from_utf8_lossy(&content).contains(wanted) {
            return refuse(FileProblem::NotPem);
        }
        match file.0 {
            "ssl_ca" => found.ca = Some(content),
            "ssl_cert" => cert = Some(content),
            _ => key = Some(content),
        }
    }
    found.identity = cert.zip(key);
    let identity = found.identity.as_ref();
    let identity = identity.map(|(cert, key)| (cert.as_slice(), key.as_slice()));
    if let Err((option, words)) = tls::inspect(found.ca.as_deref(), identity) {
        let file = files.iter().find(|(name, _)| *name == option);
        let file = file.unwrap_or(&files[0]);
        return Err(file_error(file, FileProblem::Unusable, words));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, (FileProblem, String)> {
    let unreadable = |error: std::io::Error| (FileProblem::Unreadable, error.to_string());
    let mut content = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let mut limited = file.take(LARGEST + 1);
    limited.read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > LARGEST {
        return Err((FileProblem::TooLarge, String::new()));
    }
    Ok(content)
}

/// An empty file is no password: it is one that is being written.
fn as_password(content: Vec<u8>) -> Result<Secret, FileProblem> {
    let text = String::from_utf8(content).map_err(|_| FileProblem::NotText)?;
    let password = text.trim_end_matches(['\r', '\n']);
    match password {
        "" => Err(FileProblem::Empty),
        password if password.contains('\0') => Err(FileProblem::NotText),
        password => Ok(Secret::from(password)),
    }
}

#[cfg(test)]
mod tests;
