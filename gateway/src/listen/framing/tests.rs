//! The framing of HTTP/1, shape by shape and cut at random.

use proptest::prelude::*;

use super::*;

/// Feeds in the pieces that `cuts` make, and says what was refused.
fn verdict(bytes: &[u8], cuts: &[usize]) -> Result<State, &'static str> {
    let mut framing = Framing::default();
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    for end in ends {
        framing.feed(&bytes[from..end]).map_err(|found| found.why)?;
        from = end;
    }
    Ok(framing.state)
}

#[track_caller]
fn check(bytes: &str, expected: Result<(), &'static str>) {
    let bytes = bytes.as_bytes();
    let whole = verdict(bytes, &[]);
    let each: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(whole, verdict(bytes, &each), "byte by byte");
    match expected {
        Ok(()) => assert_eq!(whole, Ok(Framing::LEAD)),
        Err(why) => assert_eq!(whole, Err(why)),
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

#[test]
fn what_browsers_and_curl_send_passes() {
    check("GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n", Ok(()));
    check(
        &format!("\r\n{POST}Content-Length: 5\r\n\r\nhello\r\n{POST}\r\n"),
        Ok(()),
    );
    check(
        &format!(
            "{POST}Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00\r\nDigest: x\r\n\r\n"
        ),
        Ok(()),
    );
    check(
        &format!("{POST}transfer-encoding:CHUNKED\r\n\r\n0\r\n\r\n"),
        Ok(()),
    );
}

#[test]
fn what_follows_a_head_that_asks_for_another_protocol_is_held() {
    let head = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    let mut framing = Framing::default();
    let all = format!("GET / HTTP/1.1\r\n\r\n{head}\0\n");
    assert_eq!(framing.feed(all.as_bytes()), Ok(all.len() - 2));
    assert!(framing.held() && !framing.in_head() && !framing.between_messages());
    assert_eq!(framing.feed(b"x"), Ok(0));
    framing.resume();
    assert_eq!(framing.feed(b"GET / HTTP/1.1\r\n\r\n"), Ok(18));
    assert!(!framing.held());
    assert!(framing.feed(b"\n").is_err());
}

#[test]
fn what_follows_a_body_or_h2c_is_http() {
    check("GET / HTTP/1.1\r\nUpgrade:  H2C \r\n\r\n", Ok(()));
    let body = "Upgrade: a\r\nContent-Length: 5\r\n\r\nhello";
    check(&format!("{POST}{body}"), Ok(()));
    let body = "Upgrade: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(&format!("{POST}{body}"), Ok(()));
    let long = format!("{POST}Upgrade: {}h2c\r\n\r\n", " ".repeat(300));
    check(&long, Err("an upgrade that is too long"));
}

#[test]
fn two_meanings_of_the_length_are_refused() {
    let both = Err("both content-length and transfer-encoding");
    let cases = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", both),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", both),
        (
            "Content-Length: 5\r\ncontent-length: 5\r\n",
            Err("two content-length lines"),
        ),
        (
            "Content-Length: +5\r\n",
            Err("a content-length that is no number"),
        ),
        (
            "Content-Length: 5, 5\r\n",
            Err("a content-length that is no number"),
        ),
        (
            "Content-Length:\r\n",
            Err("a content-length that is no number"),
        ),
        (
            "Content-Length: 18446744073709551616\r\n",
            Err("a content-length that is no number"),
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Err("a transfer-encoding other than chunked"),
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Err("a transfer-encoding other than chunked"),
        ),
        (
            "Transfer-Encoding: ,chunked\r\n",
            Err("a transfer-encoding other than chunked"),
        ),
        (
            "Transfer-Encoding: cow\r\n",
            Err("a transfer-encoding other than chunked"),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err("two transfer-encoding lines"),
        ),
    ];
    for (lines, expected) in cases {
        check(&format!("{POST}{lines}\r\n"), expected);
    }
    let padded = format!("{POST}Content-Length: {}5\r\n\r\n", " ".repeat(300));
    check(&padded, Err("a content-length that is too long"));
}

#[test]
fn lines_end_in_cr_lf() {
    let bare = Err("a line that ends in a bare LF");
    check("GET / HTTP/1.1\nHost: a\r\n\r\n", bare);
    check("GET / HTTP/1.1\r\nHost: a\n\r\n", bare);
    check("GET / HTTP/1.1\r\nHost: a\r\n\n", bare);
    check(
        "\nGET / HTTP/1.1\r\n\r\n",
        Err("a bare LF before a request"),
    );
    check("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Ok(()));
    check(
        "\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        Err("too many empty lines before a request"),
    );
}

#[test]
fn methods_are_short() {
    check(&format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(32)), Ok(()));
    let long = format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(33));
    check(&long, Err("the method is too long"));
}

#[test]
fn chunks_have_one_form() {
    let size = Err("a chunk size that is no number");
    let end = Err("a chunk that does not end in CR LF");
    let control = Err("a control character in a chunk extension");
    let cases = [
        ("5 \r\nhello\r\n0\r\n\r\n", size),
        ("0x5\r\nhello\r\n0\r\n\r\n", size),
        ("\r\n", size),
        ("-1\r\n", size),
        ("11112222333344445\r\n", size),
        ("5\nhello\r\n0\r\n\r\n", size),
        ("5\r\nhello\n0\r\n\r\n", end),
        ("5\r\nhelloX\r\n0\r\n\r\n", end),
        ("5;a\0b\r\nhello\r\n0\r\n\r\n", control),
        ("5;a\nhello\r\n0\r\n\r\n", control),
        ("0\r\n\n", Err("a line that ends in a bare LF")),
        (
            "0\r\nContent-Length: 5\r\n\r\n",
            Err("a length among the trailers"),
        ),
        (
            "0\r\ntransfer-encoding: chunked\r\n\r\n",
            Err("a length among the trailers"),
        ),
    ];
    for (body, expected) in cases {
        check(
            &format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}"),
            expected,
        );
    }
    let head = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    check(
        &format!("{head}5;{}\r\nhello\r\n", "e".repeat(17_000)),
        Err("the chunk extensions are too large"),
    );
    check(&format!("{head}0\r\n{}\r\n", "T: x\r\n".repeat(64)), Ok(()));
    check(
        &format!("{head}0\r\n{}\r\n", "T: x\r\n".repeat(65)),
        Err("too many trailers"),
    );
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("POST / HTTP/1.1\r\n"),
        Just("Host: a\r\n"),
        Just("Content-Length: 5\r\n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just("hello"),
        Just("5\r\nhello\r\n"),
        Just("5;x=y\r\nhello\r\n"),
        Just("0\r\n\r\n"),
        Just("0\r\nDigest: x\r\n\r\n"),
        Just(": \0 ;"),
        Just("Content-Length:                    +5\r\n"),
    ];
    proptest::collection::vec(piece, 0..16).prop_map(|all| all.concat().into_bytes())
}

proptest! {
    #[test]
    fn how_bytes_are_cut_into_reads_makes_no_difference(
        bytes in pieces(),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        prop_assert_eq!(verdict(&bytes, &[]), verdict(&bytes, &cuts));
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
        prop_assert_eq!(verdict(&bytes, &[]), verdict(&bytes, &cuts));
    }
}
