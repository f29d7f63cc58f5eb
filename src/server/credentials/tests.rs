//! Files that change, including through an exchanged symlink, as Kubernetes mounts Secrets.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;

/// A folder as Kubernetes mounts it: `password` leads through `..data` to a folder that is
/// exchanged as a whole.
struct Mount(tempfile::TempDir);

impl Mount {
    fn new(password: &str) -> Self {
        let mount = Self(tempfile::tempdir().unwrap());
        symlink("..data/password", mount.path()).unwrap();
        mount.set(1, password);
        mount
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("password")
    }

    fn set(&self, generation: u32, password: &str) {
        let folder = self.0.path();
        let name = format!("..{generation}");
        fs::create_dir(folder.join(&name)).unwrap();
        fs::write(folder.join(&name).join("password"), password).unwrap();
        symlink(&name, folder.join("..tmp")).unwrap();
        fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
    }

    fn vault(&self) -> CredentialFiles {
        CredentialFiles::new(&Config::new("mysql", "app").with_password_file(self.path()))
    }
}

async fn password(vault: &CredentialFiles) -> (u64, String) {
    let found = vault.newest(false).await.unwrap();
    let text = found.password.as_ref().unwrap().expose().to_owned();
    (found.version, text)
}

#[tokio::test]
async fn an_exchanged_symlink_is_a_new_password_and_the_same_one_is_not() {
    let mount = Mount::new("one\n");
    let vault = mount.vault();
    assert_eq!(password(&vault).await, (0, "one".to_owned()));
    mount.set(2, "one");
    assert_eq!(password(&vault).await, (0, "one".to_owned()));
    // Of the same length.
    mount.set(3, "two");
    assert_eq!(password(&vault).await, (1, "two".to_owned()));
}

#[tokio::test]
async fn a_file_that_is_gone_or_empty_costs_no_password_that_was_read() {
    let mount = Mount::new("one");
    let vault = mount.vault();
    assert_eq!(password(&vault).await.1, "one");
    mount.set(2, "");
    assert_eq!(password(&vault).await, (0, "one".to_owned()));
    fs::remove_file(mount.path()).unwrap();
    assert_eq!(password(&vault).await, (0, "one".to_owned()));
    fs::write(mount.path(), "two").unwrap();
    assert_eq!(password(&vault).await, (1, "two".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_a_password_is_told_without_being_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let told = async || {
        let vault = CredentialFiles::new(&Config::new("mysql", "app").with_password_file(&path));
        let error = vault.newest(false).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        let ConnectError::File {
            option, problem, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(option, "password_file");
        problem
    };
    assert_eq!(told().await, FileProblem::Unreadable);
    fs::write(&path, "\r\n").unwrap();
    assert_eq!(told().await, FileProblem::Empty);
    fs::write(&path, "hunter2\0").unwrap();
    assert_eq!(told().await, FileProblem::NotText);
    fs::write(&path, b"hunter2\xff").unwrap();
    assert_eq!(told().await, FileProblem::NotText);
    fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
    assert_eq!(told().await, FileProblem::TooLarge);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(told().await, FileProblem::Unreadable);
}

#[tokio::test]
async fn with_doubt_the_content_is_read_even_if_the_file_looks_as_before() {
    let mount = Mount::new("one");
    let vault = mount.vault();
    assert_eq!(password(&vault).await.1, "one");
    // As if the clock were too coarse to show the change.
    mount.set(2, "two");
    let stamps = stamps(&vault.files).unwrap();
    vault.known.lock().await.stamps = stamps;
    assert_eq!(password(&vault).await.1, "one");
    let found = vault.newest(true).await.unwrap();
    assert_eq!(found.password.as_ref().unwrap().expose(), "two");
}

#[cfg(feature = "rustls-tls")]
#[tokio::test]
async fn certificates_and_keys_that_are_none_are_told_by_their_option() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let pair = rcgen::generate_simple_self_signed(["mysql-0".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["mysql-1".to_owned()]).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, content) in [
        ("cert", pair.cert.pem()),
        ("key", pair.signing_key.serialize_pem()),
        ("other", other.signing_key.serialize_pem()),
        ("text", "hello".to_owned()),
        ("broken", broken.to_owned()),
    ] {
        fs::write(path(name), content).unwrap();
    }
    let told = async |ca: &str, cert: &str, key: &str| {
        let config = Config::new("mysql", "app")
            .with_ssl_ca(path(ca))
            .with_ssl_identity(path(cert), path(key));
        match CredentialFiles::new(&config).newest(false).await {
            Ok(_) => None,
            Err(ConnectError::File {
                option, problem, ..
            }) => Some((option, problem)),
            Err(other) => panic!("{other:?}"),
        }
    };
    use FileProblem::{NotPem, Unreadable, Unusable};
    assert_eq!(told("cert", "cert", "key").await, None);
    assert_eq!(told("text", "cert", "key").await, Some(("ssl_ca", NotPem)));
    assert_eq!(told("key", "cert", "key").await, Some(("ssl_ca", NotPem)));
    assert_eq!(
        told("nosuch", "cert", "key").await,
        Some(("ssl_ca", Unreadable))
    );
    assert_eq!(
        told("broken", "cert", "key").await,
        Some(("ssl_ca", Unusable))
    );
    assert_eq!(
        told("cert", "text", "key").await,
        Some(("ssl_cert", NotPem))
    );
    assert_eq!(
        told("cert", "cert", "text").await,
        Some(("ssl_key", NotPem))
    );
    assert_eq!(
        told("cert", "cert", "other").await,
        Some(("ssl_key", Unusable))
    );
}

#[cfg(feature = "rustls-tls")]
#[tokio::test]
async fn a_certificate_is_not_used_before_its_key_is_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let make = || rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let (first, second) = (make(), make());
    let write = |name: &str, content: String| fs::write(path(name), content).unwrap();
    write("cert", first.cert.pem());
    write("key", first.signing_key.serialize_pem());
    let config = Config::new("mysql", "app").with_ssl_identity(path("cert"), path("key"));
    let vault = CredentialFiles::new(&config);
    let before = vault.newest(false).await.unwrap();
    assert_eq!(before.version, 0);

    write("cert", second.cert.pem());
    assert_eq!(vault.newest(false).await.unwrap(), before);
    write("key", second.signing_key.serialize_pem());
    let after = vault.newest(false).await.unwrap();
    assert_eq!(after.version, 1);
    let (cert, key) = after.identity.clone().unwrap();
    assert_eq!(cert, second.cert.pem().into_bytes());
    assert_eq!(key, second.signing_key.serialize_pem().into_bytes());
}
