//! Pure: credentials in the files that the tools of AWS keep.
//!
//! ```text
//! ~/.aws/credentials: [name]            ~/.aws/config: [profile name], and [default]
//! key = value                           a line that begins with a space goes on with the one before
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// What a profile says that concerns us.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Profile {
    pub keys: Option<Keys>,
    pub region: Option<String>,
}

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

/// Hides what is secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile")
            .field("keys", &self.keys)
            .field("region", &self.region)
            .finish()
    }
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadProfile {
    #[error("the profile {profile:?} has {given} but no {missing}")]
    Half {
        profile: String,
        given: &'static str,
        missing: &'static str,
    },
    #[error(
        "the profile {profile:?} gets its credentials by {way}, which is not supported: set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, such as by `aws configure export-credentials`"
    )]
    Way { profile: String, way: String },
}

/// The profile of this name in the texts of both files; `None` if neither has it. What the file of credentials says goes
/// before what the other says.
pub(super) fn find(
    profile: &str,
    credentials: &str,
    config: &str,
) -> Result<Option<Profile>, BadProfile> {
    let in_config = match profile {
        "default" => section(config, &["default", "profile default"]),
        other => section(config, &[&format!("profile {other}")]),
    };
    let in_credentials = section(credentials, &[profile]);
    if in_config.is_none() && in_credentials.is_none() {
        return Ok(None);
    }
    let mut entries = in_config.unwrap_or_default();
    entries.extend(in_credentials.unwrap_or_default());
    Profile::new(profile, &entries).map(Some)
}

impl Profile {
    fn new(profile: &str, entries: &BTreeMap<String, String>) -> Result<Profile, BadProfile> {
        const ID: &str = "aws_access_key_id";
        const SECRET: &str = "aws_secret_access_key";
        let entry = |name: &str| entries.get(name).cloned();
        let half = |given, missing| {
            let profile = profile.to_owned();
            Err(BadProfile::Half {
                profile,
                given,
                missing,
            })
        };
        let keys = match (entry(ID), entry(SECRET)) {
            (Some(id), Some(secret)) => Some(Keys {
                id,
                secret,
                token: entry("aws_session_token"),
            }),
            (Some(_), None) => return half(ID, SECRET),
            (None, Some(_)) => return half(SECRET, ID),
            (None, None) => None,
        };
        let ways = [
            "role_arn",
            "credential_process",
            "sso_session",
            "sso_start_url",
        ];
        let way = ways.into_iter().find(|way| entries.contains_key(*way));
        if let (None, Some(way)) = (&keys, way) {
            return Err(BadProfile::Way {
                profile: profile.to_owned(),
                way: way.to_owned(),
            });
        }
        let region = entry("region");
        Ok(Profile { keys, region })
    }
}

/// The entries of the sections of these names; `None` if there is none.
fn section(text: &str, names: &[&str]) -> Option<BTreeMap<String, String>> {
    let mut entries = None;
    let mut is_inside = false;
    for line in text.lines() {
        let is_nested = line.starts_with([' ', '\t']);
        let line = without_comment(line).trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            is_inside = names.contains(&name.as_str());
            if is_inside {
                entries.get_or_insert_with(BTreeMap::new);
            }
            continue;
        }
        if let (Some(entries), Some((name, value)), true, false) =
            (&mut entries, line.split_once('='), is_inside, is_nested)
        {
            let name = name.trim().to_ascii_lowercase();
            entries.insert(name, value.trim().to_owned());
        }
    }
    entries
}

/// A comment is a whole line, or begins behind a space.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with(['#', ';']) {
        return "";
    }
    let end = line.find(" #").or_else(|| line.find(" ;"));
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
# kept by hand
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key=se/cret+=with=signs

[backup] ; the one for backups
  nested = ignored
AWS_ACCESS_KEY_ID = AKIABACKUP # inline
aws_secret_access_key = hunter2
aws_session_token = token
[half]
aws_access_key_id = AKIA
";
    const CONFIG: &str = "\
[default]
region = eu-central-1
s3 =
    addressing_style = path
[profile   backup]
region = us-west-2
aws_access_key_id = OLDER
[profile role]
role_arn = arn:aws:iam::1:role/r
[services x]
region = no
";

    fn found(profile: &str) -> Result<Option<Profile>, BadProfile> {
        find(profile, CREDENTIALS, CONFIG)
    }

    #[test]
    fn a_profile_is_put_together_from_both_files() {
        let default = found("default").unwrap().unwrap();
        let keys = default.keys.unwrap();
        assert_eq!(
            (keys.id.as_str(), keys.secret.as_str(), keys.token),
            ("AKIADEFAULT", "se/cret+=with=signs", None)
        );
        assert_eq!(default.region.as_deref(), Some("eu-central-1"));
        let backup = found("backup").unwrap().unwrap();
        let keys = backup.keys.unwrap();
        assert_eq!(
            (keys.id.as_str(), keys.token.as_deref()),
            ("AKIABACKUP", Some("token"))
        );
        assert_eq!(backup.region.as_deref(), Some("us-west-2"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for profile in ["nobody", "x", "services x", "profile backup"] {
            assert_eq!(found(profile), Ok(None), "{profile}");
        }
        assert_eq!(find("default", "", ""), Ok(None));
        let only_config = find("default", "", "[default]\nregion = r\n").unwrap();
        assert_eq!(only_config.unwrap().keys, None);
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let half = found("half").unwrap_err().to_string();
        assert!(half.ends_with("has aws_access_key_id but no aws_secret_access_key"));
        let role = found("role").unwrap_err().to_string();
        assert!(
            role.contains("by role_arn, which is not supported"),
            "{role}"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", found("backup"));
        assert!(
            shown.contains("AKIABACKUP") && !shown.contains("hunter2"),
            "{shown}"
        );
        assert!(!shown.contains("\"token\""), "{shown}");
    }
}
