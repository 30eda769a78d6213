//! What comes bit by bit: rows, stages.

use std::time::Instant;

use tonic::{Request, Status, Streaming};

use super::call::features;
use super::course::Manner;
use super::error::{Effect, Error, Kind};
use super::lines::Lines;
use super::routes::Wish;
use crate::base::clock::{now_monotonic, timeout};
use crate::proto::v1;

/// The rows of a scan, some at a time.
#[derive(Debug)]
pub struct Pages {
    lines: Lines,
    /// What is still to be scanned.
    left: v1::ScanFeaturesRequest,
    /// As many rows have come as were asked for.
    is_whole: bool,
    stream: Streaming<v1::ScanFeaturesResponse>,
}

impl Pages {
    /// Begins a scan.
    pub(super) async fn open(
        lines: Lines,
        request: v1::ScanFeaturesRequest,
    ) -> Result<Pages, Error> {
        let stream = open_scan(&lines, &request).await?;
        Ok(Pages {
            lines,
            left: request,
            is_whole: false,
            stream,
        })
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// If they do not come within the deadline of a call, or the stream broke, and no node goes on with it.
    pub async fn next(&mut self) -> Result<Option<v1::ScanFeaturesResponse>, Error> {
        let due = now_monotonic() + self.lines.options().deadline;
        let next = match by(due, self.stream.message()).await {
            Ok(page) => page,
            Err(_) if self.is_whole => None,
            Err(broken) if broken.kind != Kind::Unavailable => return Err(broken),
            Err(broken) => match self.again(due).await {
                Ok(page) => page,
                Err(failure) => return Err(broken.or_rather(failure)),
            },
        };
        let Some(page) = next else {
            return Ok(None);
        };
        self.left.resume_token.clone_from(&page.resume_token);
        if !page.session.is_empty() {
            self.left.session = Some(page.session.clone());
        }
        if self.left.limit > 0 {
            let rows = page
                .columns
                .first()
                .map_or(0, |column| column.statuses.len());
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            self.is_whole = rows >= self.left.limit;
            self.left.limit = self.left.limit.saturating_sub(rows);
        }
        Ok(Some(page))
    }

    /// The next rows by a stream of their own.
    async fn again(&mut self, due: Instant) -> Result<Option<v1::ScanFeaturesResponse>, Error> {
        let left = due.saturating_duration_since(now_monotonic());
        let stream = timeout(left, open_scan(&self.lines, &self.left)).await;
        self.stream = stream.unwrap_or_else(|_| Err(late()))?;
        by(due, self.stream.message()).await
    }
}

/// What a stream brings, unless that takes too long.
async fn by<T>(due: Instant, coming: impl Future<Output = Result<T, Status>>) -> Result<T, Error> {
    let left = due.saturating_duration_since(now_monotonic());
    let come = timeout(left, coming).await.map_err(|_| late())?;
    come.map_err(|status| Error::from_status(&status, Effect::Reads))
}

fn late() -> Error {
    Error::unavailable("no page within the deadline".to_owned())
}

async fn open_scan(
    lines: &Lines,
    request: &v1::ScanFeaturesRequest,
) -> Result<Streaming<v1::ScanFeaturesResponse>, Error> {
    // Only until it begins: there is no limit to how long it lasts.
    let deadline = lines.options().deadline;
    let ask = async |channel, request: Request<_>| {
        let request = request.into_inner();
        timeout(deadline, features(channel).scan_features(request))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no page within the deadline")))
    };
    let manner = match request.level() {
        v1::ReadLevel::Primary => Manner {
            wish: Wish::Primary,
            ..Manner::READS
        },
        v1::ReadLevel::Unspecified
        | v1::ReadLevel::Local
        | v1::ReadLevel::Bounded
        | v1::ReadLevel::Quorum => Manner::READS,
    };
    lines.ask(request.clone(), manner, ask).await
}

/// The stages of forgetting.
#[derive(Debug)]
pub struct Stages(pub(super) Streaming<v1::ForgetResponse>);

/// A backup that is being made.
#[derive(Debug)]
pub struct BackupStages(pub(super) Streaming<v1::CreateBackupResponse>);

impl BackupStages {
    /// How far it has come, or what was made, which is the last.
    ///
    /// # Errors
    /// If it is not made, or the stream broke.
    pub async fn next(&mut self) -> Result<Option<v1::CreateBackupResponse>, Error> {
        let next = self.0.message().await;
        next.map_err(|status| Error::from_status(&status, Effect::Reads))
    }
}

impl Stages {
    /// The next stage that is done; `None` when all are.
    ///
    /// # Errors
    /// If a stage failed or the stream broke.
    pub async fn next(&mut self) -> Result<Option<v1::ForgetResponse>, Error> {
        self.0
            .message()
            .await
            .map_err(|status| Error::from_status(&status, Effect::Writes))
    }
}
