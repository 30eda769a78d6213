//! Calls over gRPC. [`Connection`] neither builds requests from objects nor takes answers apart, for the generator shares the
//! machine with what it measures; [`Program`] does both, as what is measured is the caller's side.

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::super::error::CliError;
use super::generator::Caller;
use super::workload::Requests;
use crate::client::Client;
use crate::proto::v1::feature_service_client::FeatureServiceClient;

/// Messages as their bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `GetFeatures`.
    Lookup,
    /// `PutFeatures`.
    Write,
}

/// One connection to a node, or to what is measured in its place.
#[derive(Debug, Clone)]
pub struct Connection {
    grpc: Grpc<Channel>,
    call: Call,
    requests: Requests,
}

impl Connection {
    /// Connects to the first of `endpoints` that answers.
    ///
    /// # Errors
    /// If none does.
    pub async fn open(
        endpoints: &[String],
        call: Call,
        requests: Requests,
    ) -> Result<Connection, CliError> {
        let mut failure = "no endpoint was given".to_owned();
        for endpoint in endpoints {
            match connect(endpoint).await {
                Ok(channel) => {
                    return Ok(Connection {
                        grpc: Grpc::new(channel),
                        call,
                        requests,
                    });
                }
                Err(cause) => failure = format!("{endpoint}: {cause}"),
            }
        }
        Err(CliError::failed("UNAVAILABLE", failure))
    }

    /// Makes the next call and returns the answer's bytes.
    ///
    /// # Errors
    /// As it is answered.
    pub async fn answer(&mut self) -> Result<Bytes, CliError> {
        let (method, request) = match self.call {
            Call::Lookup => ("GetFeatures", self.requests.lookup().encode_to_vec()),
            Call::Write => ("PutFeatures", self.requests.write().encode_to_vec()),
        };
        let path =
            PathAndQuery::from_maybe_shared(format!("/steadfast.v1.FeatureService/{method}"))
                .expect("the names of services and methods are paths");
        self.grpc
            .ready()
            .await
            .map_err(|error| CliError::failed("UNAVAILABLE", error.to_string()))?;
        let answer = self
            .grpc
            .unary(Request::new(request.into()), path, Raw)
            .await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| refused(&status))
    }
}

impl Caller for Connection {
    async fn call(&mut self) -> Result<(), CliError> {
        self.answer().await.map(|_| ())
    }
}

/// Lookups as a program makes them, which has messages and not bytes.
#[derive(Debug)]
pub struct Program {
    way: Way,
    requests: Requests,
}

#[derive(Debug)]
enum Way {
    /// By the code that tonic generates.
    Generated(FeatureServiceClient<Channel>),
    /// By our client.
    Client(Client),
}

impl Program {
    /// One that calls what tonic generates.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn generated(endpoint: &str, requests: Requests) -> Result<Program, CliError> {
        let channel = connect(endpoint).await;
        let channel =
            channel.map_err(|cause| CliError::failed("UNAVAILABLE", cause.to_string()))?;
        Ok(Program {
            way: Way::Generated(FeatureServiceClient::new(channel)),
            requests,
        })
    }

    /// One that calls our client.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn client(endpoint: &str, requests: Requests) -> Result<Program, CliError> {
        Ok(Program {
            way: Way::Client(Client::to(&[endpoint]).await?),
            requests,
        })
    }
}

impl Caller for Program {
    async fn call(&mut self) -> Result<(), CliError> {
        let request = self.requests.lookup();
        match &mut self.way {
            Way::Client(client) => {
                client.get(request).await?;
            }
            Way::Generated(client) => {
                client
                    .get_features(request)
                    .await
                    .map_err(|status| refused(&status))?;
            }
        }
        Ok(())
    }
}

fn refused(status: &Status) -> CliError {
    CliError::failed(
        "REFUSED",
        format!("{}: {}", status.code(), status.message()),
    )
}

async fn connect(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{endpoint}"))?
        .tcp_nodelay(true)
        .connect()
        .await
}
