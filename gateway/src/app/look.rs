//! What watched files look like from outside, and when what is in none of them
//! any more counts as gone.
//!
//! The rule is pure: time is an argument. Never reads what is in a file. Used by
//! `watch`, and by `main` before the first read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::id::wall_clock;
use crate::resource;

/// For how long files are left alone before something that is in none of them is
/// gone. Editors, `cp` and `git checkout` are done within some milliseconds; who
/// copies over a slow network pauses for longer, and nobody needs a deletion sooner.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(2);
/// A start waits no longer for files that are being written.
const START_WAIT_MAX: Duration = Duration::from_secs(10);

/// Tells two contents of a file apart without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    bytes: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

/// Files that are watched, each with its stamp; none where it is not there.
pub(super) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// Every file that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Look {
    pub(super) resources: Stamps,
    /// Contents of plugins.
    pub(super) modules: Stamps,
}

/// The stamps of files.
pub(super) fn stamps(files: Vec<PathBuf>) -> Stamps {
    let stamped = |file: PathBuf| {
        let stamp = stamp(&file);
        (file, stamp)
    };
    files.into_iter().map(stamped).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = path.metadata().ok()?;
    Some(Stamp {
        file: (found.dev(), found.ino()),
        bytes: found.size(),
        written: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// Since when something is in no file: with which look, and from what time on.
///
/// A file that is replaced in two steps, or is half written up to the end of a
/// resource, looks just like one whose resources were taken out on purpose. The
/// one difference is that it does not stay so.
#[derive(Debug, Default)]
pub(super) struct Absence(Option<(Look, Instant)>);

impl Absence {
    /// Something is missing in files that looked like `read` before they were
    /// read and like `after` afterwards. None: it is gone. Else after what time
    /// to look again.
    ///
    /// It is gone when two looks that are [`GONE_AFTER`] apart found it missing
    /// and all files the same, with nothing told of a change in between.
    pub(super) fn judge(&mut self, read: &Look, after: &Look, now: Instant) -> Option<Duration> {
        if read != after {
            self.0 = None;
            return Some(GONE_AFTER);
        }
        match &self.0 {
            Some((look, since)) if look == read => {
                let left = GONE_AFTER.saturating_sub(now.saturating_duration_since(*since));
                (!left.is_zero()).then_some(left)
            }
            _ => {
                self.0 = Some((read.clone(), now));
                Some(GONE_AFTER)
            }
        }
    }

    /// Nothing is missing, or something changed: it begins anew.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

/// How long files still have to be left alone, by when the last of them changed.
/// Not at all where that is in the future: some other machine's clock.
fn rest(changed: Option<SystemTime>, now: SystemTime) -> Duration {
    let age = changed.and_then(|changed| now.duration_since(changed).ok());
    age.map_or(Duration::ZERO, |age| GONE_AFTER.saturating_sub(age))
}

/// Waits until nothing in files and folders has changed for 2 s, at most 10 s:
/// before a start that deletes what is in no file. Whether they came to rest.
/// Blocks its thread.
#[must_use]
pub fn wait_for_rest(paths: &[PathBuf]) -> bool {
    let begun = Instant::now();
    loop {
        let left = rest(last_change(paths), wall_clock());
        if left.is_zero() || begun.elapsed() + left > START_WAIT_MAX {
            return left.is_zero();
        }
        std::thread::sleep(left);
    }
}

/// When a file was written, or a name in a folder came or went.
fn last_change(paths: &[PathBuf]) -> Option<SystemTime> {
    let files = resource::files(paths);
    let changed = |path: &PathBuf| {
        let found = path.metadata().ok()?;
        let seconds = u64::try_from(found.ctime()).ok()?;
        let nanos = u32::try_from(found.ctime_nsec()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
    };
    files.iter().chain(paths).filter_map(changed).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look at one file of some size; 0: it is not there.
    fn look(bytes: u64) -> Look {
        let stamp = |bytes| Stamp {
            file: (1, 1),
            bytes,
            written: (0, 0),
            changed: (0, 0),
        };
        let file = PathBuf::from("iris.yaml");
        Look {
            resources: BTreeMap::from([(file, (bytes > 0).then(|| stamp(bytes)))]),
            modules: Stamps::new(),
        }
    }

    /// Passes in which something is missing: at what millisecond, how the file
    /// looks before and after it is read, and what is still to be waited; none:
    /// gone. A file of 9 bytes has everything: nothing is missing.
    #[track_caller]
    fn check(passes: &[(u64, u64, u64, Option<u64>)]) {
        let (mut absence, begun) = (Absence::default(), Instant::now());
        for (at, read, after, expected) in passes {
            if *read == 9 {
                absence.clear();
                continue;
            }
            let now = begun + Duration::from_millis(*at);
            let left = absence.judge(&look(*read), &look(*after), now);
            let expected = expected.map(Duration::from_millis);
            assert_eq!(left, expected, "at {at} ms of {passes:?}");
        }
    }

    #[test]
    fn what_stays_away_for_two_seconds_is_gone() {
        check(&[(0, 0, 0, Some(2000)), (2000, 0, 0, None)]);
        check(&[(0, 0, 0, Some(2000)), (9000, 0, 0, None)]);
        check(&[
            (0, 0, 0, Some(2000)),
            (1500, 0, 0, Some(500)),
            (1999, 0, 0, Some(1)),
            (2000, 0, 0, None),
        ]);
    }

    #[test]
    fn what_comes_back_was_never_gone() {
        check(&[
            (0, 0, 0, Some(2000)),
            (500, 9, 9, None),
            (2500, 0, 0, Some(2000)),
        ]);
    }

    #[test]
    fn a_file_that_grows_is_waited_for_however_slowly() {
        check(&[
            (0, 0, 0, Some(2000)),
            (1900, 1, 1, Some(2000)),
            (3800, 2, 2, Some(2000)),
            (5700, 3, 3, Some(2000)),
            (7699, 3, 3, Some(1)),
            (7700, 3, 3, None),
        ]);
    }

    #[test]
    fn what_changed_while_it_was_read_proves_nothing() {
        check(&[
            (0, 0, 0, Some(2000)),
            (2000, 0, 1, Some(2000)),
            (4000, 0, 0, Some(2000)),
            (6000, 0, 0, None),
        ]);
    }

    #[test]
    fn a_start_waits_for_what_has_just_changed() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let ms = Duration::from_millis;
        let left = |age: u64| rest(Some(now - ms(age)), now);
        assert_eq!(left(0), ms(2000));
        assert_eq!(left(1500), ms(500));
        assert_eq!(left(2000), ms(0));
        assert_eq!(left(90_000), ms(0));
        assert_eq!(rest(Some(now + ms(1)), now), ms(0));
        assert_eq!(rest(None, now), ms(0));
    }
}
