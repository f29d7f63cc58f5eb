//! The template: a data directory with accounts and nothing else, created once per machine and
//! user.
//!
//! Owns the cached template in the machine's temporary directory, and copies it. A finished
//! template is renamed into place, so that no process ever sees an incomplete one. After that it
//! must never be changed, and no server may ever run on it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;

use super::error::LabError;
use super::process::run;
use super::recipe::Recipe;

/// Increase this when templates are created differently although options and SQL are the same.
const RECIPE_VERSION: u32 = 1;

/// The file that holds the number of files in the template. Cleaners of temporary directories
/// delete old files one by one; a template with missing files must not be used.
const STAMP: &str = "files";
const DATA: &str = "data";

/// A finished template of this machine.
#[derive(Debug)]
pub(super) struct Template {
    data: PathBuf,
}

impl Template {
    /// The template for `recipe`. It is created now if this user has none on this machine.
    pub(super) async fn obtain(recipe: &Recipe, deadline: Duration) -> Result<Self, LabError> {
        // Within a process, a second lab waits for the first one's template. Two processes may both
        // create one; the first to finish wins.
        static MAKING: Mutex<()> = Mutex::const_new(());
        let _making = MAKING.lock().await;

        let user = rustix::process::geteuid().as_raw();
        let mut hasher = DefaultHasher::new();
        (RECIPE_VERSION, recipe.fingerprint()).hash(&mut hasher);
        let name = format!("headless-mysql-template-{user}-{:016x}", hasher.finish());
        let home = std::env::temp_dir().join(name);
        if !is_whole(&home, user)? {
            discard(&home)?;
            make(recipe, &home, user, deadline).await?;
        }
        Ok(Self {
            data: home.join(DATA),
        })
    }

    /// Copies the template to `target`, which must not exist. Blocks.
    pub(super) fn copy_to(&self, target: &Path) -> Result<(), LabError> {
        copy(&self.data, target).map_err(LabError::io(format!(
            "copying the template to {}",
            target.display()
        )))
    }
}

/// Whether `home` is a complete template. A directory of another user under this name is an error:
/// another user's files must not define our accounts.
fn is_whole(home: &Path, user: u32) -> Result<bool, LabError> {
    let failed = || format!("looking at the template {}", home.display());
    let meta = match fs::symlink_metadata(home) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(LabError::io(failed())(error)),
    };
    if meta.uid() != user || !meta.is_dir() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let what = format!("{} belongs to somebody else", home.display());
        return Err(LabError::Io { what, source });
    }
    let stamp = fs::read_to_string(home.join(STAMP)).unwrap_or_default();
    let files = match count(&home.join(DATA)) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(LabError::io(failed())(error)),
    };
    Ok(stamp.trim() == files.to_string())
}

/// Renames a damaged template before deleting it, because other processes may read it meanwhile.
fn discard(home: &Path) -> Result<(), LabError> {
    if !home.exists() {
        return Ok(());
    }
    let failed = || format!("removing the damaged template {}", home.display());
    let bin = work_directory().map_err(LabError::io(failed()))?;
    match fs::rename(home, bin.path().join("damaged")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::io(failed())(error)),
        _ => Ok(()),
    }
}

async fn make(recipe: &Recipe, home: &Path, user: u32, deadline: Duration) -> Result<(), LabError> {
    let failed = || LabError::io(format!("making the template {}", home.display()));
    let work = work_directory().map_err(failed())?;
    let draft = work.path().join("draft");
    let data = draft.join(DATA);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data)
        .map_err(failed())?;

    let accounts = work.path().join("accounts.sql");
    fs::write(&accounts, recipe.accounts()).map_err(failed())?;
    for step in recipe.steps(&data, &accounts) {
        let stdin = match step.reads_accounts {
            true => Some(File::open(&accounts).map_err(failed())?),
            false => None,
        };
        run(step.what, step.command, stdin, deadline).await?;
    }
    for file in recipe.dialect.never_copied {
        fs::remove_file(data.join(file)).map_err(failed())?;
    }

    let files = count(&data).map_err(failed())?;
    fs::write(draft.join(STAMP), files.to_string()).map_err(failed())?;
    match fs::rename(&draft, home) {
        Ok(()) => Ok(()),
        // Another process was faster, and its template is equivalent.
        Err(_) if is_whole(home, user)? => Ok(()),
        Err(error) => Err(failed()(error)),
    }
}

fn work_directory() -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("headless-mysql-making-")
        .tempdir()
}

/// The number of regular files below `directory`.
fn count(directory: &Path) -> io::Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() {
            count(&entry.path())?
        } else {
            1
        };
    }
    Ok(files)
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let target = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn template(files: usize) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(DATA).join("mysql")).unwrap();
        for n in 0..files {
            fs::write(
                home.path().join(DATA).join("mysql").join(n.to_string()),
                "x",
            )
            .unwrap();
        }
        fs::write(home.path().join(STAMP), files.to_string()).unwrap();
        home
    }

    #[test]
    fn a_template_that_lost_a_file_is_not_whole() {
        let home = template(3);
        assert!(is_whole(home.path(), user()).unwrap());
        fs::remove_file(home.path().join(DATA).join("mysql/1")).unwrap();
        assert!(!is_whole(home.path(), user()).unwrap());
        discard(home.path()).unwrap();
        assert!(!home.path().exists());
        assert!(!is_whole(home.path(), user()).unwrap());
    }

    #[test]
    fn a_template_of_another_user_is_refused() {
        let home = template(1);
        assert!(is_whole(home.path(), user() + 1).is_err());
    }

    #[test]
    fn a_copy_has_every_file() {
        let home = template(4);
        let target = home.path().join("copy");
        Template {
            data: home.path().join(DATA),
        }
        .copy_to(&target)
        .unwrap();
        assert_eq!(count(&target).unwrap(), 4);
    }
}
