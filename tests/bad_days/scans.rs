//! Scans of the view that the load writes to.

use std::collections::BTreeMap;

use steadfast::client::{Client, Error};
use steadfast::model::Items;
use steadfast::proto::{items_from_proto, v1};

use crate::history::ReadLevel;
use crate::traffic::level_to_wire;

/// The first rows, so many at the most or all of them if that is 0.
pub async fn scan_at(
    client: &Client,
    level: ReadLevel,
    limit: u64,
) -> Result<BTreeMap<u64, u64>, Error> {
    let request = v1::ScanFeaturesRequest {
        view: "v".to_owned(),
        limit,
        level: level_to_wire(level).into(),
        ..v1::ScanFeaturesRequest::default()
    };
    let mut pages = client.scan(request).await?;
    let (mut scanned, mut last) = (BTreeMap::new(), None);
    while let Some(mut page) = pages.next().await? {
        let keys = int64s(page.entities.remove(0).values);
        for (key, value) in keys.into_iter().zip(int64s(page.columns.remove(0).values)) {
            assert!(last < Some(key), "{key} comes after {last:?}");
            last = Some(key);
            scanned.insert(key, value);
        }
    }
    Ok(scanned)
}

fn int64s(items: Option<v1::Items>) -> Vec<u64> {
    let Some(Items::Int64(items)) = items.and_then(items_from_proto) else {
        panic!("keys and values are int64");
    };
    items.into_iter().map(i64::cast_unsigned).collect()
}
