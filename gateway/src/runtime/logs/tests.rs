use super::*;
use std::io::Write;

fn query() -> LogQuery {
    LogQuery {
        endpoint: Name::parse("iris").unwrap(),
        version: None,
        replica: None,
        since: None,
        follow: false,
    }
}

fn append(logs: &Path, file: &str, lines: &[(u32, &str)]) {
    let path = logs.join("iris").join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    for (second, text) in lines {
        writeln!(file, "2026-11-01T00:00:{second:02}.000Z {text}").unwrap();
    }
}

async fn all(logs: &Path, query: LogQuery) -> Vec<String> {
    let mut receiver = read(logs, query, &Tasks::new());
    let mut texts = Vec::new();
    while let Some(line) = receiver.recv().await {
        texts.push(format!("{} {}", line.replica, line.text));
    }
    texts
}

#[tokio::test]
async fn lines_of_all_replicas_come_by_their_time() {
    let logs = tempfile::tempdir().unwrap();
    append(logs.path(), "blue/blue-1.log", &[(3, "c"), (5, "e")]);
    append(logs.path(), "blue/blue-1.log.1", &[(1, "a")]);
    append(logs.path(), "blue/blue-2.log", &[(2, "b"), (6, "f")]);
    append(logs.path(), "green/green-1.log", &[(4, "d")]);
    append(logs.path(), "green/other.txt", &[(4, "not a log")]);
    let expected = [
        "blue-1 a",
        "blue-2 b",
        "blue-1 c",
        "green-1 d",
        "blue-1 e",
        "blue-2 f",
    ];
    assert_eq!(all(logs.path(), query()).await, expected);
    let mut one = query();
    one.version = Some(Name::parse("green").unwrap());
    assert_eq!(all(logs.path(), one).await, ["green-1 d"]);
    let mut one = query();
    one.replica = Some("blue-2".to_owned());
    assert_eq!(all(logs.path(), one).await, ["blue-2 b", "blue-2 f"]);
    let mut hostile = query();
    hostile.replica = Some("../../green/green-1".to_owned());
    assert_eq!(all(logs.path(), hostile).await, [""; 0]);
}

#[tokio::test]
async fn old_lines_are_left_out() {
    let logs = tempfile::tempdir().unwrap();
    append(logs.path(), "blue/blue-1.log", &[(1, "old")]);
    let now = Timestamp::try_from(wall_clock()).unwrap();
    let path = logs.path().join("iris/blue/blue-1.log");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{now:.3} new").unwrap();
    let mut recent = query();
    recent.since = Some(Duration::from_secs(300));
    assert_eq!(all(logs.path(), recent).await, ["blue-1 new"]);
}

#[tokio::test]
async fn following_goes_over_rotation_and_finds_new_replicas() {
    let logs = tempfile::tempdir().unwrap();
    append(logs.path(), "blue/blue-1.log", &[(1, "a")]);
    let mut followed = query();
    followed.follow = true;
    let tasks = Tasks::new();
    let mut receiver = read(logs.path(), followed, &tasks);
    assert_eq!(receiver.recv().await.unwrap().text, "a");
    append(logs.path(), "blue/blue-1.log", &[(2, "b")]);
    let folder = logs.path().join("iris/blue");
    std::fs::rename(folder.join("blue-1.log"), folder.join("blue-1.log.1")).unwrap();
    append(logs.path(), "blue/blue-1.log", &[(3, "c")]);
    assert_eq!(receiver.recv().await.unwrap().text, "b");
    assert_eq!(receiver.recv().await.unwrap().text, "c");
    append(logs.path(), "blue/blue-2.log", &[(4, "d")]);
    assert_eq!(receiver.recv().await.unwrap().text, "d");
    tasks.stop();
    assert!(receiver.recv().await.is_none());
    tasks.finish().await;
}

#[tokio::test]
async fn more_lines_than_fit_in_memory_at_once_all_come() {
    let logs = tempfile::tempdir().unwrap();
    let lines: Vec<(u32, &str)> = (0..5000).map(|n| (n / 100, "x")).collect();
    append(logs.path(), "blue/blue-1.log", &lines);
    assert_eq!(all(logs.path(), query()).await.len(), 5000);
}
