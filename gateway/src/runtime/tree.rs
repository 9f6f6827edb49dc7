//! The processes below one of ours, by `/proc`.
//!
//! Looks only; what it saw may be over a moment later. Used by the guard, which
//! looks again until nothing is left.

use std::fs;

/// A process below ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: i32,
    /// Its process group.
    pub(super) group: i32,
}

/// All processes below `root`, in whatever group or session. Reads every
/// process's line: `…/children` is not in every kernel.
pub(super) fn below(root: i32) -> Vec<Process> {
    let all: Vec<(i32, Process)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            let (parent, group) = parent_and_group(&stat)?;
            Some((parent, Process { pid, group }))
        })
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (_, process) in all.iter().filter(|(of, _)| *of == parent) {
            // The lines are of different moments; a circle must not hold us.
            if !found.contains(process) {
                found.push(*process);
                parents.push(process.pid);
            }
        }
    }
    found
}

/// From `PID (NAME) STATE PARENT GROUP …`; the name may have anything in it.
fn parent_and_group(stat: &[u8]) -> Option<(i32, i32)> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = b"42 (a) R 1 1) S 7 9 9 0 -1";
        assert_eq!(parent_and_group(stat), Some((7, 9)));
        assert_eq!(parent_and_group(b"nonsense"), None);
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
