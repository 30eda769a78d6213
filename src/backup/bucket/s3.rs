//! From the URL of an S3-style store, and what the environment says, to a client of it.

use std::sync::Arc;

use hyper::Uri;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::{BackoffConfig, RetryConfig};

use super::credentials::{Environment, ProfileFiles};
use super::error::{Kind, Trouble};
use super::http::Way;
use super::url::{S3Place, endpoint};

/// What of the environment is handed on: where credentials come from, and how objects are to be encrypted.
const HANDED_ON: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
    ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
    ("AWS_SESSION_TOKEN", "aws_session_token"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "aws_web_identity_token_file"),
    ("AWS_ROLE_ARN", "aws_role_arn"),
    ("AWS_ROLE_SESSION_NAME", "aws_role_session_name"),
    ("AWS_ENDPOINT_URL_STS", "aws_endpoint_url_sts"),
    (
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "aws_container_credentials_relative_uri",
    ),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "aws_container_credentials_full_uri",
    ),
    (
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "aws_container_authorization_token_file",
    ),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "aws_metadata_endpoint"),
    ("AWS_SERVER_SIDE_ENCRYPTION", "aws_server_side_encryption"),
    ("AWS_SSE_KMS_KEY_ID", "aws_sse_kms_key_id"),
    ("AWS_SSE_BUCKET_KEY_ENABLED", "aws_sse_bucket_key_enabled"),
];

/// Variables that name credentials by themselves, so that no file is looked at.
const GO_FIRST: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];

/// A client of the store; nothing is sent yet.
///
/// # Errors
/// If URL or environment do not say enough, or contradict themselves.
pub(super) fn open(place: &S3Place, environment: &Environment) -> Result<AmazonS3, Trouble> {
    let files = ProfileFiles::new(environment);
    let has_own = GO_FIRST.iter().any(|name| environment.get(name).is_some());
    let profile = if has_own { None } else { files.read()? };
    let region = place.region.as_deref();
    let region = region
        .or_else(|| environment.get("AWS_REGION"))
        .or_else(|| environment.get("AWS_DEFAULT_REGION"))
        .or(profile
            .as_ref()
            .and_then(|profile| profile.region.as_deref()))
        .unwrap_or("us-east-1");
    let address = Address::new(place, environment, region)?;
    let mut builder = AmazonS3Builder::new();
    for (variable, key) in HANDED_ON {
        if let (Some(value), Ok(key)) =
            (environment.get(variable), key.parse::<AmazonS3ConfigKey>())
        {
            builder = builder.with_config(key, value);
        }
    }
    if profile.as_ref().is_some_and(|found| found.keys.is_some()) {
        builder = builder.with_credentials(Arc::new(files));
    }
    let way = Way::new(address.authority()?, address.needs_tls())?;
    builder
        .with_bucket_name(&place.bucket)
        .with_region(region)
        .with_endpoint(&address.url)
        .with_virtual_hosted_style_request(!address.path_style)
        // With both, an object is created only where there is none.
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // One request for one object: many stores lack the other one.
        .with_disable_bulk_delete(true)
        .with_retry(no_retries())
        .with_http_connector(way)
        .build()
        .map_err(|error| Trouble::new(Kind::Misconfigured, error.to_string()))
}

/// See `retry.rs` for why.
fn no_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: std::time::Duration::ZERO,
    }
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// With the bucket in the host name if it stands there, without it otherwise.
    url: String,
    path_style: bool,
}

impl Address {
    /// By default the bucket stands in the host name at AWS, unless its name has dots, which certificates do not cover,
    /// and in the path anywhere else, since few other stores have a name for each bucket.
    fn new(place: &S3Place, environment: &Environment, region: &str) -> Result<Address, Trouble> {
        let named = environment
            .get("AWS_ENDPOINT_URL_S3")
            .or_else(|| environment.get("AWS_ENDPOINT_URL"));
        let named = named.map(|text| {
            endpoint(text).map_err(|bad| {
                let said = format!("AWS_ENDPOINT_URL cannot be used: {bad}");
                Trouble::new(Kind::Misconfigured, said)
            })
        });
        let given = match (&place.endpoint, named) {
            (Some(endpoint), _) => Some(endpoint.clone()),
            (None, named) => named.transpose()?,
        };
        let path_style = place
            .path_style
            .unwrap_or(given.is_some() || place.bucket.contains('.'));
        let url = given.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let url = if path_style {
            url
        } else {
            url.replacen("://", &format!("://{}.", place.bucket), 1)
        };
        Ok(Address { url, path_style })
    }

    fn needs_tls(&self) -> bool {
        self.url.starts_with("https://")
    }

    fn authority(&self) -> Result<String, Trouble> {
        let uri = self.url.parse::<Uri>().ok();
        let authority = uri.and_then(|uri| Some(uri.authority()?.to_string()));
        authority.ok_or_else(|| {
            let said = format!("{} is no address of a store", self.url);
            Trouble::new(Kind::Misconfigured, said)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::url::{BucketUrl, Place};
    use super::*;

    fn address(url: &str, variables: &[(&str, &str)]) -> Result<Address, Trouble> {
        let url: BucketUrl = url.parse().unwrap();
        let Place::S3(place) = url.place() else {
            panic!("{url}")
        };
        Address::new(place, &environment(variables), "eu-central-1")
    }

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn every_variable_that_is_handed_on_is_known_to_the_library() {
        for (variable, key) in HANDED_ON {
            assert!(key.parse::<AmazonS3ConfigKey>().is_ok(), "{variable}");
        }
    }

    #[test]
    fn where_the_bucket_stands_depends_on_the_store() {
        let env = ("AWS_ENDPOINT_URL", "http://env:1");
        let of_s3 = ("AWS_ENDPOINT_URL_S3", "http://env-s3:2/");
        for (url, variables, expected, path_style) in [
            (
                "s3://b",
                &[][..],
                "https://b.s3.eu-central-1.amazonaws.com",
                false,
            ),
            (
                "s3://b.c",
                &[],
                "https://s3.eu-central-1.amazonaws.com",
                true,
            ),
            (
                "s3://b?path_style=true",
                &[],
                "https://s3.eu-central-1.amazonaws.com",
                true,
            ),
            ("s3://b?endpoint=http://h:9/x", &[env], "http://h:9/x", true),
            (
                "s3://b?endpoint=https://h&path_style=false",
                &[],
                "https://b.h",
                false,
            ),
            ("s3://b", &[env], "http://env:1", true),
            ("s3://b", &[env, of_s3], "http://env-s3:2", true),
        ] {
            let expected = Address {
                url: expected.to_owned(),
                path_style,
            };
            assert_eq!(address(url, variables), Ok(expected), "{url}");
        }
        let bad = address("s3://b", &[("AWS_ENDPOINT_URL", "host")]).unwrap_err();
        assert_eq!(bad.kind, Kind::Misconfigured);
    }

    #[test]
    fn a_client_shows_no_secret() {
        let url: BucketUrl = "s3://b?endpoint=http://h:9".parse().unwrap();
        let Place::S3(place) = url.place() else {
            panic!("{url}")
        };
        let variables = [
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ("AWS_SESSION_TOKEN", "hunter3"),
        ];
        let shown = format!("{:?}", open(place, &environment(&variables)).unwrap());
        assert!(shown.contains("AKIA"), "{shown}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}
