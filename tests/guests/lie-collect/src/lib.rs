//! A guest of the tests: a collect policy whose entry is about an exchange that is not in
//! the batch.

use tidegate_sdk::collect::{Collect, Designation, Entry, Exchange};
use tidegate_sdk::{PluginError, Problems, Settings};

/// Names an exchange that is not in the batch.
struct LieCollect;

impl Collect for LieCollect {
    fn new(settings: Settings<'_>) -> Result<Self, Problems> {
        settings.none()?;
        Ok(Self)
    }

    fn collect(&self, batch: Vec<Exchange>, _: Vec<Entry>) -> Result<Vec<Entry>, PluginError> {
        Ok(vec![Entry {
            designation: Designation::General,
            exchange: u32::try_from(batch.len()).ok(),
            content_type: "text/plain".to_owned(),
            data: b"about nobody".to_vec(),
        }])
    }
}

tidegate_sdk::export!(LieCollect as collect);
