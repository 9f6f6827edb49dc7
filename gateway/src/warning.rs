//! What goes wrong now, for status: set by whoever meets it, gone when it is over.
//!
//! One text per source, so that a fault that lasts is one warning and not a
//! list. Never logs. Used by `collector` and shown by `reconcile`.

use std::collections::BTreeMap;

use parking_lot::RwLock;

/// What goes wrong now, by its source. Cheap to read, written rarely.
#[derive(Debug, Default)]
pub struct Warnings(RwLock<BTreeMap<&'static str, String>>);

impl Warnings {
    /// Says what is wrong with `source`, in place of what was said of it before.
    pub fn set(&self, source: &'static str, text: String) {
        self.0.write().insert(source, text);
    }

    /// Says that `source` is well; nothing is written where it was.
    pub fn clear(&self, source: &'static str) {
        if self.0.read().contains_key(source) {
            self.0.write().remove(source);
        }
    }

    /// All that is wrong, by source.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_one_warning_and_none_when_it_is_well() {
        let warnings = Warnings::default();
        warnings.set("b", "one".to_owned());
        warnings.set("a", "two".to_owned());
        warnings.set("b", "three".to_owned());
        assert_eq!(warnings.all(), ["two", "three"]);
        warnings.clear("b");
        warnings.clear("b");
        assert_eq!(warnings.all(), ["two"]);
    }
}
