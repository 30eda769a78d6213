//! Where credentials for an S3-style store come from, and what else the environment says of it.
//!
//! As the tools of AWS have it: the environment, a web identity, a profile in the files of AWS, the container, the machine.
//!
//! **Invariant.** Nothing here shows a secret, `Debug` included.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::error::{Kind, Trouble};
use super::http::NoCredentials;
use super::profile::{self, BadProfile, Profile};

/// What the environment says: the variables whose names begin with `AWS_`, and `HOME`.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Environment {
        let texts = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        texts.collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A file of AWS: where a variable says, else at its usual place.
    fn file(&self, variable: &str, usual: &str) -> Option<PathBuf> {
        let usual = || Some(PathBuf::from(self.get("HOME")?).join(".aws").join(usual));
        self.get(variable).map(PathBuf::from).or_else(usual)
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Environment {
        let concerns_us = |name: &str| name.starts_with("AWS_") || name == "HOME";
        Environment(
            variables
                .into_iter()
                .filter(|(name, _)| concerns_us(name))
                .collect(),
        )
    }
}

/// Names alone: values may be secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A profile in the files of AWS. The files are looked at before each request, so that new credentials are taken as soon as
/// they are there.
#[derive(Debug)]
pub(super) struct ProfileFiles {
    profile: String,
    /// Was the profile asked for by name?
    is_named: bool,
    credentials: Option<PathBuf>,
    config: Option<PathBuf>,
    /// Guards what was read last, and how the files were then.
    last: Mutex<Option<(Look, Arc<AwsCredential>)>>,
}

/// How the two files are, as far as a change shows in it: which ones they are, their lengths, and when they were changed.
type Look = [Option<(u64, u64, i64, i64)>; 2];

impl ProfileFiles {
    pub fn new(environment: &Environment) -> ProfileFiles {
        let named = environment.get("AWS_PROFILE");
        ProfileFiles {
            profile: named.unwrap_or("default").to_owned(),
            is_named: named.is_some(),
            credentials: environment.file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            config: environment.file("AWS_CONFIG_FILE", "config"),
            last: Mutex::default(),
        }
    }

    /// The profile as it stands in the files now.
    ///
    /// # Errors
    /// If it was asked for by name and is not there, or cannot be used.
    pub fn read(&self) -> Result<Option<Profile>, Trouble> {
        let text = |path: &Option<PathBuf>| {
            let Some(path) = path else {
                return Ok(String::new());
            };
            match std::fs::read_to_string(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
                read => read.map_err(|error| {
                    let said = format!("{} cannot be read: {error}", path.display());
                    Trouble::new(Kind::Misconfigured, said)
                }),
            }
        };
        let (credentials, config) = (text(&self.credentials)?, text(&self.config)?);
        let unusable = |bad: BadProfile| Trouble::new(Kind::Misconfigured, bad.to_string());
        let found = profile::find(&self.profile, &credentials, &config).map_err(unusable)?;
        if found.is_none() && self.is_named {
            let said = format!(
                "there is no profile {:?}, which AWS_PROFILE names, in the files of AWS",
                self.profile
            );
            return Err(Trouble::new(Kind::Misconfigured, said));
        }
        Ok(found)
    }

    fn look(&self) -> Look {
        [&self.credentials, &self.config].map(|path| {
            let found = std::fs::metadata(path.as_ref()?).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        })
    }

    fn credential(&self) -> Result<Arc<AwsCredential>, Trouble> {
        // Before reading: what changes in between is read again.
        let look = self.look();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, credential)) = &*last
            && *seen == look
        {
            return Ok(Arc::clone(credential));
        }
        let keys = self.read()?.and_then(|profile| profile.keys);
        let keys = keys.ok_or_else(|| {
            let said = format!("the profile {:?} has none any more", self.profile);
            Trouble::new(Kind::Denied, said)
        })?;
        let credential = Arc::new(AwsCredential {
            key_id: keys.id,
            secret_key: keys.secret,
            token: keys.token,
        });
        *last = Some((look, Arc::clone(&credential)));
        Ok(credential)
    }
}

#[async_trait]
impl CredentialProvider for ProfileFiles {
    type Credential = AwsCredential;

    /// Two looks at small files, which are in memory: they are not worth another thread.
    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.credential()
            .map_err(|trouble| object_store::Error::Generic {
                store: "S3",
                source: Box::new(NoCredentials {
                    from: "reading them anew:".to_owned(),
                    said: trouble.said,
                    is_transient: false,
                }),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_files_are_where_variables_say_or_at_home() {
        let files = ProfileFiles::new(&environment(&[("HOME", "/home/x")]));
        assert_eq!(files.credentials, Some("/home/x/.aws/credentials".into()));
        assert_eq!(files.config, Some("/home/x/.aws/config".into()));
        let files = ProfileFiles::new(&environment(&[
            ("HOME", "/home/x"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/c"),
            ("AWS_CONFIG_FILE", "/f"),
        ]));
        assert_eq!(
            (files.credentials, files.config),
            (Some("/c".into()), Some("/f".into()))
        );
        assert_eq!(ProfileFiles::new(&environment(&[])).credentials, None);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let environment = environment(&[("AWS_SECRET_ACCESS_KEY", "hunter2"), ("PATH", "/bin")]);
        assert_eq!(format!("{environment:?}"), "{\"AWS_SECRET_ACCESS_KEY\"}");
    }

    #[test]
    fn a_profile_that_was_named_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        let unnamed = ProfileFiles::new(&environment(&[("HOME", home)]));
        assert_eq!(unnamed.read(), Ok(None));
        let named = ProfileFiles::new(&environment(&[("HOME", home), ("AWS_PROFILE", "b")]));
        let trouble = named.read().unwrap_err();
        assert_eq!(trouble.kind, Kind::Misconfigured);
        assert!(trouble.said.contains("no profile \"b\""), "{trouble}");
    }

    #[tokio::test]
    async fn new_credentials_are_taken_once_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let write = |id: &str| {
            let text = format!("[default]\naws_access_key_id={id}\naws_secret_access_key=s\n");
            std::fs::write(&path, text).unwrap();
        };
        let variables = [("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap())];
        let files = ProfileFiles::new(&environment(&variables));
        write("FIRST");
        let first = files.get_credential().await.unwrap();
        assert_eq!(first.key_id, "FIRST");
        let again = files.get_credential().await.unwrap();
        assert!(Arc::ptr_eq(&first, &again), "read only once");
        write("SECOND1");
        assert_eq!(files.get_credential().await.unwrap().key_id, "SECOND1");
        std::fs::remove_file(&path).unwrap();
        let error = Trouble::from(files.get_credential().await.unwrap_err());
        assert_eq!(error.kind, Kind::Denied);
    }
}
