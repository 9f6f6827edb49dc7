use clap::{CommandFactory, Parser};

use super::connect::address;
use super::kind::{segment, wanted};
use super::logs::shown;
use super::{Failure, Line};

#[test]
fn every_verb_of_the_command_line_is_well_formed() {
    Line::command().debug_assert();
}

#[test]
fn the_help_of_every_verb_has_an_example() {
    fn look(command: &clap::Command, path: &str) {
        let mut inner = command.get_subcommands().peekable();
        if inner.peek().is_none() {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            assert!(help.contains(&format!("  {path}")), "{path}: {help}");
        }
        for one in inner {
            look(one, &format!("{path} {}", one.get_name()));
        }
    }
    let mut line = Line::command();
    line.build();
    for verb in line.get_subcommands() {
        look(verb, &format!("tidegate {}", verb.get_name()));
    }
}

#[test]
fn what_reads_shows_json_yaml_and_names() {
    for line in [
        "get endpoints",
        "status",
        "history endpoint/iris",
        "events",
        "top",
        "keys show iris",
        "plugin list",
    ] {
        for output in ["json", "yaml", "name"] {
            check(&format!("tidegate {line} -o {output}"), true);
        }
    }
}

#[track_caller]
fn check(line: &str, fits: bool) {
    let parsed = Line::try_parse_from(line.split(' '));
    assert_eq!(
        parsed.is_ok(),
        fits,
        "{line}: {:?}",
        parsed.err().map(|error| error.to_string())
    );
}

#[test]
fn the_verbs_of_the_first_slice_are_there() {
    check("tidegate run -f a.yaml", true);
    check(
        "tidegate run -f a.yaml b.yaml --state d --listen 127.0.0.1:0 --admin 127.0.0.1:0",
        true,
    );
    check("tidegate run -f a -f b", true);
    check("tidegate run", false);
    check("tidegate run -f a --admin localhost", false);
    check("tidegate check -f -", true);
    check("tidegate keys show iris", true);
    check("tidegate keys show iris primary --state d", true);
    check("tidegate keys show iris -o name --state d", true);
    check("tidegate keys show iris tertiary", false);
    check(
        "tidegate plugin push a.wasm --name weighted-split --state d",
        true,
    );
    check("tidegate plugin push a.wasm", false);
    check("tidegate plugin swap weighted-split", true);
    check(
        "tidegate plugin swap weighted-split sha256:00112233 --admin 127.0.0.1:1 --token-file t",
        true,
    );
    check("tidegate plugin rollback weighted-split", true);
    check("tidegate plugin list -o json", true);
    check("tidegate plugin check a.wasm", true);
    check(
        "tidegate logs iris --version blue --replica blue-1 --since 5m -f",
        true,
    );
    check("tidegate logs iris --since 5", false);
    check("tidegate get endpoints -o wide", true);
    check("tidegate get endpoint/iris -o yaml", true);
    check("tidegate status", true);
    check("tidegate", false);
    check("tidegate frobnicate", false);
}

#[track_caller]
fn check_address(text: &str, expected: Result<&str, &str>) {
    match (address(text), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected),
        (Err(Failure::Usage(why)), Err(part)) => assert!(why.contains(part), "{why}"),
        (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
    }
}

#[test]
fn a_token_never_leaves_the_machine_in_the_clear() {
    check_address("127.0.0.1:9443", Ok("http://127.0.0.1:9443"));
    check_address("http://localhost:9443/", Ok("http://localhost:9443"));
    check_address("http://[::1]:9443", Ok("http://[::1]:9443"));
    check_address("https://gateway.example", Ok("https://gateway.example"));
    check_address("http://gateway.example", Err("off loopback it is https://"));
    check_address("10.0.0.1:9443", Err("off loopback it is https://"));
    check_address("ftp://127.0.0.1", Err("neither http nor https"));
    check_address("http://127.0.0.1/v1", Err("no path"));
}

#[test]
fn one_or_all_of_a_kind_are_meant() {
    assert_eq!(wanted("endpoints", None).unwrap().1, None);
    assert_eq!(
        wanted("endpoint/iris", None).unwrap().1.as_deref(),
        Some("iris")
    );
    assert_eq!(
        wanted("plugin", Some("key-auth")).unwrap().1.as_deref(),
        Some("key-auth")
    );
    assert!(wanted("endpoint/iris", Some("other")).is_err());
    assert!(wanted("pods", None).is_err());
    assert!(segment("iris").is_ok());
    for wrong in ["", "..", "a/b", "a?b", "a b", "a%2fb"] {
        assert!(segment(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_model_cannot_drive_the_terminal() {
    assert_eq!(
        shown(b"data: \x1b[2Jhello\ttab", true).unwrap(),
        "\\u{1b}[2Jhello\ttab"
    );
    assert_eq!(shown(b": keep-alive", true), None);
    assert_eq!(shown(b"plain", false).unwrap(), "plain");
    assert_eq!(shown("größer".as_bytes(), false).unwrap(), "größer");
}
