//! The processes below one of ours, by `/proc`.
//!
//! Looks only; what it saw may be over a moment later. Used by the guard and
//! where a guard is lost, which look again until nothing is left.

use std::collections::BTreeSet;
use std::fs;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: i32,
    /// Its parent.
    pub(super) parent: i32,
    /// Its process group.
    pub(super) group: i32,
    /// Its session.
    pub(super) session: i32,
}

/// All processes below `root`, in whatever group or session, itself not among
/// them.
pub(super) fn below(root: i32) -> Vec<Process> {
    below_all(&[root], &all())
}

/// What was left below this process by guards that were killed: this process is
/// their subreaper, everything else it starts is in its own session, and
/// `guards` are those that are there. With all that is below them.
pub(super) fn orphans(own: i32, guards: &BTreeSet<i32>) -> Vec<Process> {
    let all = all();
    let Some(session) = all.iter().find(|one| one.pid == own).map(|one| one.session) else {
        return Vec::new();
    };
    let left: Vec<Process> = all
        .iter()
        .filter(|one| one.parent == own && one.session != session && !guards.contains(&one.pid))
        .copied()
        .collect();
    let roots: Vec<i32> = left.iter().map(|one| one.pid).collect();
    let mut found = below_all(&roots, &all);
    found.extend(left);
    found
}

/// All there are. Reads every process's line: `…/children` is not in every kernel.
fn all() -> Vec<Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
        })
        .collect()
}

fn below_all(roots: &[i32], all: &[Process]) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = roots.to_vec();
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|one| one.parent == parent) {
            // The lines are of different moments; a circle must not hold us.
            if !found.contains(process) {
                found.push(*process);
                parents.push(process.pid);
            }
        }
    }
    found
}

/// From `PID (NAME) STATE PARENT GROUP SESSION …`; the name may have anything in it.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut numbers = rest.split_ascii_whitespace().skip(1).map(str::parse);
    Some(Process {
        pid,
        parent: numbers.next()?.ok()?,
        group: numbers.next()?.ok()?,
        session: numbers.next()?.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let found = Process {
            pid: 42,
            parent: 7,
            group: 9,
            session: 8,
        };
        assert_eq!(parse(42, b"42 (a) R 1 1) S 7 9 8 0 -1"), Some(found));
        assert_eq!(parse(42, b"nonsense"), None);
    }

    #[test]
    fn a_child_is_found_below_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = below(own);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.iter().any(|process| process.pid == pid));
        assert!(!found.iter().any(|process| process.pid == own));
    }
}
