//! `steadfast bench load`: the views and their entities.

use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};

use super::super::error::CliError;
use super::workload::{Requests, Shape, entity, view_file};
use crate::client::Client;

/// Rows of one batch.
const BATCH: usize = 1_000;
/// Shown on a terminal.
const PROGRESS: &str = "loading {bar:30} {human_pos}/{human_len} rows, {per_sec}, {eta} left";
/// Batches under way.
const IN_FLIGHT: usize = 8;

/// Creates the views and writes every entity of the shape to all of them.
///
/// # Errors
/// If the node refuses something.
pub async fn load(client: &Client, shape: Shape) -> Result<(), CliError> {
    for view in 0..shape.views {
        client.create_view(view_file(view, shape.features)).await?;
    }
    let mut requests = Requests::new(shape, 0);
    let progress = ProgressBar::new(shape.rows());
    if let Ok(style) = ProgressStyle::with_template(PROGRESS) {
        progress.set_style(style);
    }
    let batch = BATCH.div_ceil(shape.views);
    let starts = (0..shape.entities).step_by(batch);
    let writes = starts.map(|start| {
        let ranks = (start..shape.entities).take(batch);
        requests.write_of(&ranks.map(entity).collect::<Vec<_>>())
    });
    stream::iter(writes)
        .map(|write| async {
            let rows: usize = write.writes.iter().map(|group| group.rows.len()).sum();
            let written = client.put(write).await;
            progress.inc(u64::try_from(rows).unwrap_or_default());
            written.map(|_| ())
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    progress.finish_and_clear();
    Ok(())
}
