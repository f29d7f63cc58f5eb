//! The password and the certificates, as the files contain them now.
//!
//! [`CredentialFiles::newest`] gives them. For every new connection it checks the files' metadata,
//! off the runtime's threads, and reads the files only if they have changed.
//!
//! Owns the reading of files: when, how much, and what happens if a file is missing. It must never
//! print their content, and never give up a working secret because a file cannot be read.

use crate::config::{Config, Secret};
use crate::error::{ConnectError, FileProblem};
use crate::server::tls::{self, Pem};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The size limit of a file, far above any password and any bundle of authorities.
const LARGEST: u64 = 4 << 20;

/// How often files are read again if they change during the read.
const ATTEMPTS: usize = 4;

/// The secrets of a connection. Equal credentials have the same version.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Grows with every change.
    pub(crate) version: u64,
    pub(crate) password: Option<Secret>,
    pub(crate) ca: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Credentials {
    pub(crate) fn pem(&self) -> Pem<'_> {
        let identity = self.identity.as_ref();
        Pem {
            ca: self.ca.as_deref(),
            identity: identity.map(|(cert, key)| (cert.as_slice(), key.as_slice())),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Tells whether a file has changed, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    /// The file's place and its times of change: an exchanged symlink may lead to a file of the
    /// same length and time.
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

/// The source of the credentials, and their content at the last look.
#[derive(Debug)]
pub(crate) struct CredentialFiles {
    password: Option<Secret>,
    /// The option's name and the path of each file.
    files: Arc<[(&'static str, PathBuf)]>,
    /// Locked during a look, so that older content never replaces newer content.
    known: tokio::sync::Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    stamps: Vec<Stamp>,
    current: Option<Arc<Credentials>>,
    /// Whether an unreadable file was already reported.
    complained: bool,
}

impl CredentialFiles {
    pub(crate) fn new(config: &Config) -> Self {
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
        // Without files, these credentials never change.
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

    /// The current credentials. With `doubt` the files are read even if they look unchanged.
    ///
    /// # Cancel safety
    ///
    /// A dropped future loses nothing: the next call checks the files again.
    pub(crate) async fn newest(&self, doubt: bool) -> Result<Arc<Credentials>, ConnectError> {
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

/// The content of the files, or `None` if they look as `before`. All files are read in the same
/// state: a certificate must not be paired with a later key.
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
        // A pipe would have no end.
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

/// An empty file is not a password: it is still being written.
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
