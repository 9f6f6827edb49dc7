//! What a command line printed, where, and its exit code.
//!
//! Used by the tests of the verbs.

use std::process::Output;

/// The exit code, and what standard output and standard error have in them.
///
/// # Panics
///
/// With both streams, where it is otherwise.
#[track_caller]
pub fn check(output: &Output, code: i32, stdout: &str, stderr: &str) {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(stdout), "{stdout:?} is not in {out:?}");
    assert!(err.contains(stderr), "{stderr:?} is not in {err:?}");
}

/// The same of a verb that does all or nothing: results and problems never
/// share a stream, and where there is a problem there is no result.
///
/// # Panics
///
/// As [`check`].
#[track_caller]
pub fn check_whole(output: &Output, code: i32, stdout: &str, stderr: &str) {
    check(output, code, stdout, stderr);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(out.is_empty(), code != 0, "{out}");
    assert_eq!(err.is_empty(), code == 0, "{err}");
}
