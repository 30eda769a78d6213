//! Pure: how large things may be. Numbers nobody can choose better; the edges refuse what exceeds them by name.

/// Bytes of a view, feature or join key name.
pub const NAME_BYTES: usize = 128;
/// Join keys of one entity.
pub const JOIN_KEYS: usize = 16;
/// Features of one view. Their cells' version indexes and counts stay within 16 bits.
pub const FEATURES: usize = 4_096;
/// Bytes of an encoded entity key.
pub const KEY_BYTES: usize = 1_024;
/// Bytes of one string, bytes or list value.
pub const VALUE_BYTES: usize = 1 << 20;
/// Bytes of all cells of one row.
pub const ROW_BYTES: usize = 4 << 20;
/// Rows of one batch.
pub const BATCH_ROWS: usize = 100_000;
/// Groups of rows in one batch.
pub const BATCH_GROUPS: usize = 1_000;
/// Bytes of one batch as logged.
pub const BATCH_BYTES: usize = 32 << 20;
/// Bytes of a request id.
pub const REQUEST_ID_BYTES: usize = 128;
/// Entities of one lookup.
pub const LOOKUP_ENTITIES: usize = 10_000;
/// Views of one lookup.
pub const LOOKUP_VIEWS: usize = 64;
/// Bytes of one message of a client: a row of the greatest size and its key fit.
pub const REQUEST_BYTES: usize = 6 << 20;
/// Bytes of the values that one lookup or page answers.
pub const ANSWER_BYTES: usize = 16 << 20;
/// Values of one lookup: entities times features, over all views.
pub const LOOKUP_VALUES: usize = 4_000_000;
