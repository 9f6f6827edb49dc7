//! Which paths of a model callers may reach (SEMANTICS §2).
//!
//! An entry is the exact path or ends in `/*`, which is all below it. The query
//! is no part of it. Never decodes: `admit` refuses what would need it.

/// The `paths` of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    exact: Vec<String>,
    below: Vec<String>,
}

impl Paths {
    /// From the entries as they are written.
    #[must_use]
    pub fn new(entries: &[String]) -> Self {
        let mut paths = Self {
            exact: Vec::new(),
            below: Vec::new(),
        };
        for entry in entries {
            match entry.strip_suffix('*') {
                Some(prefix) if prefix.ends_with('/') => paths.below.push(prefix.to_owned()),
                _ => paths.exact.push(entry.clone()),
            }
        }
        paths
    }

    /// Whether the path, which begins with `/`, is listed.
    #[must_use]
    pub fn allow(&self, path: &str) -> bool {
        self.exact.iter().any(|exact| exact == path)
            || self
                .below
                .iter()
                .any(|prefix| path.starts_with(prefix.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entries: &[&str], path: &str, allowed: bool) {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        assert_eq!(
            Paths::new(&entries).allow(path),
            allowed,
            "{path} by {entries:?}"
        );
    }

    #[test]
    fn a_path_is_listed_exactly_or_below_a_star() {
        let usual = ["/score", "/swagger.json", "/v1/*", "/v2/*"];
        check(&usual, "/score", true);
        check(&usual, "/score/", false);
        check(&usual, "/scores", false);
        check(&usual, "/v1/", true);
        check(&usual, "/v1", false);
        check(&usual, "/v1/models/x", true);
        check(&usual, "/v10/models", false);
        check(&usual, "/", false);
        check(&["/*"], "/", true);
        check(&["/*"], "/admin/shutdown", true);
        check(&[], "/score", false);
    }
}
