//! Pure: the URL of a bucket, as operators write it and as it is shown.
//!
//! ```text
//! s3://bucket/prefix?region=eu-central-1&endpoint=https://s3.example.net&path_style=true
//! file:///absolute/directory
//! ```
//! **Invariant.** It holds no secret, so it can be shown, logged and kept anywhere.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::name::{BadName, ObjectName};

/// Where backups are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketUrl(Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    S3(S3Place),
    Directory(PathBuf),
}

/// A bucket of an S3-style store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct S3Place {
    pub bucket: String,
    /// What all names in it begin with.
    pub prefix: Option<ObjectName>,
    pub region: Option<String>,
    /// The store's address without the bucket: scheme, host, and maybe port and path; no slash at the end.
    pub endpoint: Option<String>,
    /// Does the bucket stand in the path of a request rather than in the host name?
    pub path_style: Option<bool>,
}

/// Why a text is not the URL of a bucket. Says nothing of it that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is no URL of a kind that there is.
    #[error("the URL of a bucket begins with s3://BUCKET or file:///")]
    Scheme,
    /// It, or its endpoint, is not a URL at all.
    #[error("{what} is not a URL: {cause}")]
    Syntax {
        /// The URL or its endpoint.
        what: &'static str,
        /// What is wrong with it.
        cause: url::ParseError,
    },
    /// It holds credentials.
    #[error(
        "credentials do not belong into the URL of a bucket, because it is shown and kept: they are taken from \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from ~/.aws/credentials and ~/.aws/config, or from the role of \
         the machine"
    )]
    Credentials,
    /// It has a parameter that there is not.
    #[error("there is no parameter {name:?} in the URL of {of}; there is {known}")]
    Parameter {
        /// The parameter's name.
        name: String,
        /// What kind of bucket it is.
        of: &'static str,
        /// The parameters that there are.
        known: &'static str,
    },
    /// It has one parameter twice.
    #[error("the parameter {name:?} stands twice in the URL")]
    Twice {
        /// The parameter's name.
        name: String,
    },
    /// A parameter's value, or a part of the URL, is not what it must be.
    #[error("{what} must be {expected}")]
    Value {
        /// What part it is.
        what: &'static str,
        /// What is expected.
        expected: &'static str,
    },
    /// What names in the bucket begin with is no name.
    #[error("the prefix cannot be used: {0}")]
    Prefix(#[from] BadName),
}

impl BucketUrl {
    pub(super) fn place(&self) -> &Place {
        &self.0
    }

    /// The URL of a directory; `None` unless its path is absolute.
    #[must_use]
    pub fn of_directory(path: &Path) -> Option<BucketUrl> {
        path.is_absolute()
            .then(|| BucketUrl(Place::Directory(path.to_owned())))
    }
}

impl FromStr for BucketUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<BucketUrl, BadUrl> {
        let is_known = ["s3://", "file:///"]
            .iter()
            .any(|start| text.starts_with(start));
        if !is_known {
            return Err(BadUrl::Scheme);
        }
        let url = parsed("the URL", text)?;
        if url.fragment().is_some() {
            return value("a # in the URL", "written as %23");
        }
        let place = if url.scheme() == "s3" {
            Place::S3(s3(&url)?)
        } else {
            Place::Directory(directory(&url)?)
        };
        Ok(BucketUrl(place))
    }
}

fn value<T>(what: &'static str, expected: &'static str) -> Result<T, BadUrl> {
    Err(BadUrl::Value { what, expected })
}

/// A URL that holds no credentials.
fn parsed(what: &'static str, text: &str) -> Result<Url, BadUrl> {
    let url = Url::parse(text).map_err(|cause| BadUrl::Syntax { what, cause })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadUrl::Credentials);
    }
    Ok(url)
}

fn directory(url: &Url) -> Result<PathBuf, BadUrl> {
    if let Some((name, _)) = url.query_pairs().next() {
        return Err(BadUrl::Parameter {
            name: name.into_owned(),
            of: "a directory",
            known: "none",
        });
    }
    url.to_file_path().or(value(
        "a directory",
        "an absolute path, such as file:///backups",
    ))
}

fn s3(url: &Url) -> Result<S3Place, BadUrl> {
    let bucket = url.host_str().unwrap_or_default();
    let is_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(is_name) {
        return value("the bucket", "a name of a-z 0-9 . -");
    }
    if url.port().is_some() {
        return value(
            "the port of the store",
            "a part of the parameter endpoint, such as endpoint=http://host:9000",
        );
    }
    let path = url.path().trim_matches('/');
    let prefix = (!path.is_empty())
        .then(|| ObjectName::parse(path))
        .transpose()?;
    let mut place = S3Place {
        bucket: bucket.to_owned(),
        prefix,
        region: None,
        endpoint: None,
        path_style: None,
    };
    for (name, value) in url.query_pairs() {
        place.set(&name, &value)?;
    }
    Ok(place)
}

impl S3Place {
    fn set(&mut self, name: &str, text: &str) -> Result<(), BadUrl> {
        let is_new = match name {
            "region" => self.region.replace(region(text)?).is_none(),
            "endpoint" => self.endpoint.replace(endpoint(text)?).is_none(),
            "path_style" => self.path_style.replace(truth(text)?).is_none(),
            secret if is_secret(secret) => return Err(BadUrl::Credentials),
            unknown => {
                return Err(BadUrl::Parameter {
                    name: unknown.to_owned(),
                    of: "an S3 bucket",
                    known: "region, endpoint, path_style",
                });
            }
        };
        if is_new {
            return Ok(());
        }
        let name = name.to_owned();
        Err(BadUrl::Twice { name })
    }
}

/// Is a parameter of this name meant to hold a secret?
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["key", "secret", "token", "password", "credential"]
        .iter()
        .any(|part| name.contains(part))
}

fn region(text: &str) -> Result<String, BadUrl> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if text.is_empty() || !text.chars().all(is_part) {
        return value("region", "a name, such as eu-central-1");
    }
    Ok(text.to_owned())
}

fn truth(text: &str) -> Result<bool, BadUrl> {
    text.parse().or(value("path_style", "true or false"))
}

/// The address of a store, which is shown as it is written.
pub(super) fn endpoint(text: &str) -> Result<String, BadUrl> {
    const EXPECTED: &str = "such as https://s3.example.net or http://127.0.0.1:9000";
    let url = parsed("the endpoint", text)?;
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-".contains(char);
    let is_right = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path().chars().all(is_plain);
    if !is_right {
        return value("endpoint", EXPECTED);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::S3(place) => place.fmt(f),
            Place::Directory(path) => match Url::from_file_path(path) {
                Ok(url) => url.fmt(f),
                Err(()) => write!(f, "file://{}", path.display()),
            },
        }
    }
}

impl fmt::Display for S3Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if let Some(prefix) = &self.prefix {
            write!(f, "/{prefix}")?;
        }
        let parameters = [
            ("region", self.region.clone()),
            ("endpoint", self.endpoint.clone()),
            ("path_style", self.path_style.map(|is| is.to_string())),
        ];
        let given = parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        for (at, (name, value)) in given.enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            write!(f, "{sign}{name}={value}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for BucketUrl {
    type Error = BadUrl;

    fn try_from(text: String) -> Result<BucketUrl, BadUrl> {
        text.parse()
    }
}

impl From<BucketUrl> for String {
    fn from(url: BucketUrl) -> String {
        url.to_string()
    }
}

#[cfg(test)]
#[path = "url_test.rs"]
mod tests;
