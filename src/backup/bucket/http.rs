//! The way of requests to an S3-style store: TLS, and what is added to requests and read from answers there.
//!
//! **Invariants.** No upload in parts replaces an object where the store can prevent it: the request that completes one says
//! so. An answer that is not the one hoped for reaches the caller as an [`Answer`]. Redirects are not followed, because a
//! request is signed for one host.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::header::{HeaderValue, IF_NONE_MATCH};
use hyper::{Method, StatusCode};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::answer::Answer;
use super::error::{Kind, Trouble};

/// How long connecting may take. A host that is down does not refuse.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Servers close idle connections; ours are closed before.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// A client of one store, and of what hands out credentials for it.
#[derive(Debug, Clone)]
pub(super) struct Way {
    client: reqwest::Client,
    /// Host and port of the store. Whatever else is asked is asked for credentials.
    authority: String,
}

impl Way {
    /// A way to the store at this host and port.
    ///
    /// # Errors
    /// If this machine has no root certificates, and TLS is needed.
    pub fn new(authority: String, needs_tls: bool) -> Result<Way, Trouble> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(needs_tls)?)
            .connect_timeout(CONNECT_LIMIT)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .user_agent(concat!("steadfast/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| Trouble::new(Kind::Misconfigured, cause.to_string()))?;
        Ok(Way { client, authority })
    }
}

/// TLS with the certificates that this machine trusts, or those in the file that `SSL_CERT_FILE` names.
fn tls(is_needed: bool) -> Result<ClientConfig, Trouble> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 && is_needed {
        let said = "this machine has no root certificates: install ca-certificates, or name a file in SSL_CERT_FILE";
        return Err(Trouble::new(Kind::Misconfigured, said));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| Trouble::new(Kind::Misconfigured, cause.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// There are no credentials, or who hands them out does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are no credentials: none in AWS_ACCESS_KEY_ID, none in the files of AWS, and {from} {said}"
)]
pub(super) struct NoCredentials {
    /// Who was asked.
    pub from: String,
    pub said: String,
    /// Can it be otherwise a moment later?
    pub is_transient: bool,
}

impl NoCredentials {
    pub fn kind(&self) -> Kind {
        if self.is_transient {
            Kind::Unavailable
        } else {
            Kind::Denied
        }
    }
}

impl HttpConnector for Way {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Way {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked = request
            .uri()
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        if asked != self.authority {
            return credentials(&asked, self.client.call(request).await);
        }
        let is_completion = completes_upload(&request);
        if is_completion {
            let any = HeaderValue::from_static("*");
            request.headers_mut().insert(IF_NONE_MATCH, any);
        }
        let response = self.client.call(request).await?;
        if !response.status().is_success() {
            let (parts, body) = response.into_parts();
            let body = body.bytes().await?;
            return Err(refused(parts.status, &body));
        }
        if is_completion {
            return unless_error(response).await;
        }
        Ok(response)
    }
}

/// Is it the request that makes an object of uploaded parts?
fn completes_upload(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::POST && query.split('&').any(|part| part.starts_with("uploadId="))
}

/// Completing takes long, so its answer begins before it is known what it will say.
async fn unless_error(response: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = response.into_parts();
    let body = body.bytes().await?;
    if Answer::is_error(&String::from_utf8_lossy(&body)) {
        return Err(refused(parts.status, &body));
    }
    Ok(HttpResponse::from_parts(parts, body.into()))
}

fn refused(status: StatusCode, body: &[u8]) -> HttpError {
    let answer = Answer::new(status, &String::from_utf8_lossy(body));
    HttpError::new(HttpErrorKind::Unknown, answer)
}

/// The answer of who hands out credentials, unless it is none.
fn credentials(
    asked: &str,
    outcome: Result<HttpResponse, HttpError>,
) -> Result<HttpResponse, HttpError> {
    let (said, is_transient) = match outcome {
        Ok(response) if response.status().is_success() => return Ok(response),
        Ok(response) => {
            let status = response.status();
            let is_busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            (format!("answers {status}"), is_busy)
        }
        Err(_) => ("does not answer".to_owned(), false),
    };
    let from = asked.to_owned();
    let none = NoCredentials {
        from,
        said,
        is_transient,
    };
    Err(HttpError::new(HttpErrorKind::Unknown, none))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, uri: &str) -> HttpRequest {
        hyper::Request::builder()
            .method(method)
            .uri(uri)
            .body(Vec::new().into())
            .unwrap()
    }

    #[test]
    fn only_the_completion_of_an_upload_is_one() {
        for (method, query, is) in [
            (Method::POST, "uploadId=7", true),
            (Method::POST, "uploads=", false),
            (Method::PUT, "partNumber=1&uploadId=7", false),
            (Method::DELETE, "uploadId=7", false),
        ] {
            let request = request(method, &format!("http://s3/bucket/key?{query}"));
            assert_eq!(completes_upload(&request), is, "{request:?}");
        }
    }

    #[test]
    fn who_hands_out_no_credentials_is_named() {
        let answers = |status: u16| {
            let response = hyper::Response::builder().status(status);
            let response = response.body(Vec::new().into()).unwrap();
            Trouble::from(object_store::Error::Generic {
                store: "S3",
                source: Box::new(credentials("169.254.169.254", Ok(response)).unwrap_err()),
            })
        };
        let missing = answers(404);
        assert_eq!(missing.kind, Kind::Denied);
        assert!(
            missing
                .said
                .ends_with("and 169.254.169.254 answers 404 Not Found"),
            "{missing}"
        );
        assert_eq!(answers(503).kind, Kind::Unavailable);
    }
}
