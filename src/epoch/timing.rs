//! Pure: how long things take before somebody acts. Safety depends on none of these.

use std::time::Duration;

/// How often a primary pings.
pub const HEARTBEAT: Duration = Duration::from_millis(200);
/// How often a question that was not answered is asked again.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a candidate goes on without coming any further.
pub const PATIENCE: Duration = Duration::from_millis(3_000);
/// How long a primary that hands over admits nothing, before it takes service up again.
pub const HAND_OVER: Duration = Duration::from_millis(2_000);
/// The longest a candidate that failed waits before it tries again.
pub const BACKOFF_MAX: Duration = Duration::from_millis(3_000);
