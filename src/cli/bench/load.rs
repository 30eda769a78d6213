//! `steadfast bench load`: the view and its entities.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::error::CliError;
use super::workload::{Requests, Shape, entity, view_file};
use crate::client::Client;

/// Rows of one batch.
const BATCH: usize = 1_000;
/// Batches under way.
const IN_FLIGHT: usize = 8;

/// Creates the view and writes every entity of the shape.
///
/// # Errors
/// If the node refuses something.
pub async fn load(client: &Client, shape: Shape) -> Result<(), CliError> {
    client.create_view(view_file(shape.features)).await?;
    let mut requests = Requests::new(shape, 0);
    let starts = (0..shape.entities).step_by(BATCH);
    let writes = starts.map(|start| {
        let ranks = (start..shape.entities).take(BATCH);
        requests.write_of(ranks.map(entity).collect())
    });
    stream::iter(writes)
        .map(|write| async { client.put(write).await.map(|_| ()) })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    Ok(())
}
