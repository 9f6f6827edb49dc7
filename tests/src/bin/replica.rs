//! The test replica as a program, for versions of the `process` runtime.
//!
//! Listens on `PORT` of loopback until it is killed. `--name NAME`; `--delay MS`
//! waits before it listens, `--until FILE` until that is there; `--fork` starts two children that outlive a
//! careless parent; `--fail WORDS` prints them and exits with 3; of those that
//! are given the same `--one-deaf FILE`, the first never listens.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test program")]
#![allow(clippy::print_stdout, reason = "its output is what is tested")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

fn main() {
    let mut name = "replica".to_owned();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--name" => name = arguments.next().unwrap(),
            "--delay" => {
                std::thread::sleep(Duration::from_millis(
                    arguments.next().unwrap().parse().unwrap(),
                ));
            }
            "--until" => {
                let file = PathBuf::from(arguments.next().unwrap());
                println!("{name} waits for {}", file.display());
                while !file.exists() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            "--fork" => {
                for _ in 0..2 {
                    #[allow(clippy::zombie_processes, reason = "leaving it behind is the point")]
                    let child = Command::new("sleep").arg("300").spawn().unwrap();
                    println!("child {}", child.id());
                }
            }
            "--one-deaf" => {
                let file = arguments.next().unwrap();
                if std::fs::File::create_new(file).is_ok() {
                    println!("{name} does not listen");
                    std::thread::sleep(Duration::from_secs(300));
                }
            }
            "--fail" => {
                eprintln!("{}", arguments.next().unwrap());
                std::process::exit(3);
            }
            other => panic!("no such argument: {other}"),
        }
    }
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    println!("{name} listens on {port}");
    let _replica = tidegate_tests::replica::Replica::serve(listener, &name);
    loop {
        std::thread::park();
    }
}
