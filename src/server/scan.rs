//! A scan: pages of a view's rows, each read when the client has room for it. Nothing is held between pages, so a slow
//! client costs nothing, and a row written meanwhile is seen or not as its key lies ahead or behind.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::try_unfold;
use tonic::{Request, Status};

use super::admission::intake;
use super::deadline::budget;
use super::edge::Edge;
use super::features::{judged, level_of_scan, open_session, read_level_name};
use super::status::Failure;
use crate::base::clock::now_monotonic;
use crate::base::{Held, ReadLevel};
use crate::node::{self, ScanPage, ScanRequest, Session};
use crate::proto::{self, Reason, Scan, v1};

/// Rows of one page at the most.
const PAGE_ROWS: u64 = 1_000;
/// Bytes of one page, more or less: well below the 4 MiB that clients take by default.
const PAGE_BYTES: usize = 1 << 20;
/// A page that takes longer ends the scan. A little less than what clients wait by default, so that they hear why.
const PAGE_WITHIN: Duration = Duration::from_secs(9);

/// The answers of a scan.
pub(super) type Pages =
    Pin<Box<dyn Stream<Item = Result<v1::ScanFeaturesResponse, Status>> + Send>>;

/// Begins a scan, here or at the primary.
pub(super) async fn begin(
    edge: &Edge,
    request: Request<v1::ScanFeaturesRequest>,
) -> Result<Pages, Status> {
    let memory = intake(&request).take();
    if let Some(way) = edge.forwarding.of_scan(&request) {
        return way.scan(request.into_inner(), memory).await;
    }
    let limit = budget(request.metadata());
    // What a session has seen and has not come here yet is at the primary, if it is anywhere.
    let elsewhere = edge
        .forwarding
        .of_session(&request, |scan| scan.session.as_ref());
    let level = level_of_scan(&edge.node, request.get_ref()).map_err(Failure::from)?;
    let catalogue = edge.catalogue_of_reads(level)?;
    let scan = proto::scan_of_request(request.into_inner(), level, &catalogue);
    let mut scan = judged(edge, level, scan)?;
    let mut session = open_session(edge, scan.session.take())?;
    if let Some(session) = &mut session {
        match edge.node.await_session(session, level, limit).await {
            Err(node::Error::SessionBehind) if let Some((way, again)) = elsewhere => {
                return way.scan(again.into_inner(), memory).await;
            }
            admitted => admitted.map_err(failed)?,
        }
    }
    Ok(serve(edge.clone(), scan, session, memory))
}

fn failed(error: node::Error) -> Failure {
    let failure = Failure::from(error);
    if failure.reason == Reason::Unrecovered {
        failure.in_field("session")
    } else {
        failure
    }
}

/// What is left of a scan, and the session that it is of.
type Left = (Scan, Option<Session>);

/// `memory` is what the request holds; each page takes more as long as it is made.
fn serve(edge: Edge, scan: Scan, session: Option<Session>, memory: Held) -> Pages {
    let memory = Arc::new(memory);
    Box::pin(try_unfold(Some((scan, session)), move |left| {
        let (edge, memory) = (edge.clone(), Arc::clone(&memory));
        async move {
            match left {
                Some(left) => Ok(next_page(&edge, left, memory.another()).await?),
                None => Ok(None),
            }
        }
    }))
}

/// The next page and what is left to scan; no page at the end.
async fn next_page(
    edge: &Edge,
    (mut scan, mut session): Left,
    mut memory: Held,
) -> Result<Option<(v1::ScanFeaturesResponse, Option<Left>)>, Failure> {
    memory
        .grow(memory_bytes(scan.level))
        .map_err(node::Error::from)?;
    let page = loop {
        let mut page = read_page(edge, &scan, session).await?;
        session = page.session.take();
        if !page.keys.is_empty() || page.rest.is_none() {
            break page;
        }
        scan.after = page.rest;
    };
    // A session goes on with deletions that it has seen, too.
    if page.keys.is_empty() && session.is_none() {
        return Ok(None);
    }
    let rows = u64::try_from(page.keys.len()).unwrap_or(u64::MAX);
    scan.limit = scan.limit.map(|limit| limit.saturating_sub(rows));
    let token = session.as_ref().map(Session::seal).unwrap_or_default();
    let last = page.keys.last().or(scan.after.as_ref());
    let answer = proto::page_to_proto(&scan.view, &page.keys, page.columns, last, token)?;
    let goes_on = page.rest.is_some() && scan.limit != Some(0);
    scan.after = page.rest;
    Ok(Some((answer, goes_on.then_some((scan, session)))))
}

async fn read_page(
    edge: &Edge,
    scan: &Scan,
    session: Option<Session>,
) -> Result<ScanPage, Failure> {
    if edge.draining.is_cancelled() {
        let message = "the node is stopping: continue with the last resume token";
        return Err(Failure::new(Reason::Stopping, message));
    }
    let begun = now_monotonic();
    let page = edge.node.scan(page_request(scan, session)).await;
    let page = page.map_err(failed)?;
    let level = read_level_name(scan.level);
    edge.metrics.observe("ScanFeatures", level, begun.elapsed());
    Ok(page)
}

/// What a page takes while it is made: its rows as stored, its columns and its message; at a quorum also what the members list
/// and name.
fn memory_bytes(level: ReadLevel) -> usize {
    match level {
        ReadLevel::Local | ReadLevel::Bounded(_) | ReadLevel::Primary => 3 * PAGE_BYTES,
        ReadLevel::Quorum => 6 * PAGE_BYTES,
    }
}

fn page_request(scan: &Scan, session: Option<Session>) -> ScanRequest {
    let rows = scan.limit.unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
    ScanRequest {
        view: scan.view.clone(),
        features: scan.features.clone(),
        prefix: scan.prefix.clone(),
        after: scan.after.clone(),
        max_rows: usize::try_from(rows).unwrap_or(usize::MAX),
        max_bytes: PAGE_BYTES,
        event_times: scan.event_times,
        level: scan.level,
        session,
        deadline: PAGE_WITHIN,
    }
}
