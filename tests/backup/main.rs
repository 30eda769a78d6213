//! Buckets as callers see them: in memory, in a directory, at an S3 server in this process, and at servers that behave badly.
//!
//! With `STEADFAST_TEST_S3_ENDPOINT` what concerns S3 runs against the server at that address (`make test-s3`).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic where something is not as expected"
)]

mod bad_server;
mod manifest;
mod objects;
mod places;
mod prune;
mod set;
mod storm;
mod trouble;
mod verify;
mod whole;
