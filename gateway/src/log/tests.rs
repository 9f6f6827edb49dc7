use super::*;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn text(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn lines_from_many_threads_all_arrive_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below/access.log");
    let lines = Lines::open(Target::File(path.clone()), Rotation::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let lines = lines.clone();
            scope.spawn(move || {
                for number in 0..1000 {
                    assert!(lines.write(format!("thread {thread} line {number}").as_bytes()));
                }
            });
        }
    });
    assert!(lines.flush(SOON));
    let text = text(&path);
    assert_eq!(text.lines().count(), 4000);
    for thread in 0..4 {
        let prefix = format!("thread {thread} line ");
        let numbers: Vec<usize> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.parse().ok())
            .collect();
        assert!(numbers.iter().copied().eq(0..1000), "thread {thread}");
    }
    assert_eq!(lines.dropped(), 0);
}

#[test]
fn a_full_file_is_set_aside_and_old_ones_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let rotation = Rotation {
        bytes_max: 20,
        kept: 2,
    };
    let lines = Lines::open(Target::File(path.clone()), rotation).unwrap();
    for number in 0..10 {
        lines.write(format!("line {number:03}").as_bytes());
    }
    assert!(lines.flush(SOON));
    assert_eq!(text(&path), "line 008\nline 009\n");
    assert_eq!(text(&folder.path().join("a.log.1")), "line 006\nline 007\n");
    assert_eq!(text(&folder.path().join("a.log.2")), "line 004\nline 005\n");
    assert!(!folder.path().join("a.log.3").exists());
}

#[test]
fn a_line_longer_than_a_file_is_not_split() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let rotation = Rotation {
        bytes_max: 10,
        kept: 1,
    };
    let lines = Lines::open(Target::File(path.clone()), rotation).unwrap();
    let long = "x".repeat(50);
    lines.write(long.as_bytes());
    lines.write(b"next");
    assert!(lines.flush(SOON));
    assert_eq!(text(&path), "next\n");
    assert_eq!(text(&folder.path().join("a.log.1")), format!("{long}\n"));
}

#[test]
fn a_line_without_room_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    let lines = Lines::open(Target::File(path), Rotation::default()).unwrap();
    assert!(!lines.write(&vec![b'x'; 5 << 20]));
    assert_eq!(lines.dropped(), 1);
    assert!(lines.write(b"small"));
    assert_eq!(lines.dropped(), 1);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let lines = Lines::open(Target::File("/dev/full".into()), Rotation::default()).unwrap();
    lines.write(b"one");
    lines.write(b"two");
    assert!(lines.flush(SOON));
    assert_eq!(lines.dropped(), 2);
}

#[test]
fn one_thread_writes_for_many_and_the_last_drop_writes_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::start().unwrap();
    let paths: Vec<_> = (0..20)
        .map(|n| folder.path().join(format!("{n}.log")))
        .collect();
    for path in &paths {
        let lines = writer
            .open(Target::File(path.clone()), Rotation::default())
            .unwrap();
        lines.write(b"last words");
    }
    let last = writer
        .open(
            Target::File(folder.path().join("last.log")),
            Rotation::default(),
        )
        .unwrap();
    drop(writer);
    last.write(b"end");
    assert!(last.flush(SOON));
    // The thread takes sinks in order, so all before `last` are written.
    for path in &paths {
        assert_eq!(text(path), "last words\n");
    }
}

#[test]
fn a_filter_that_does_not_parse_is_refused_by_name() {
    let error = init("tidegate=loud", Format::Json).unwrap_err();
    assert!(error.to_string().contains("tidegate=loud"), "{error}");
}
