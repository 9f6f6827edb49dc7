//! One collected entry as a line: a CloudEvent 1.0 in JSON (SEMANTICS §10).
//!
//! Written by hand into the buffer that goes to the disk, so that a body is
//! copied once. Never changes a body: what is JSON stands there as it came, to
//! the digit, and all else as base64. Used by `journal`.

use uuid::Uuid;

use super::Record;
use super::json::{Json, json};
use crate::id::rfc3339;

/// Bytes of a line beside ids, names and data; about.
const LINE_BYTES: usize = 512;

/// Adds the line of `record` with its line feed.
pub(super) fn push(line: &mut Vec<u8>, record: &Record<'_>, id: Uuid) {
    line.reserve(LINE_BYTES + record.data.len().div_ceil(3) * 4);
    let (endpoint, version) = (record.endpoint.as_str(), record.version.as_str());
    let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = id.hyphenated().encode_lower(&mut digits);
    let put = |line: &mut Vec<u8>, parts: &[&str]| {
        for part in parts {
            line.extend_from_slice(part.as_bytes());
        }
    };
    // Names, designations and outcomes have nothing to escape.
    put(line, &["{\"specversion\":\"1.0\",\"id\":\"", id]);
    put(line, &["\",\"source\":\"/endpoints/", endpoint]);
    put(line, &["/versions/", version]);
    put(
        line,
        &["\",\"type\":\"azureml.inference.", record.designation],
    );
    put(line, &["\",\"time\":\""]);
    line.extend_from_slice(&rfc3339(record.time_ms));
    put(line, &["\",\"datacontenttype\":"]);
    text(line, record.content_type);
    put(line, &[",\"correlationid\":"]);
    text(line, record.request_id);
    put(line, &[",\"xrequestid\":"]);
    text(line, record.request_id);
    put(line, &[",\"modelversion\":\"", version]);
    put(line, &["\",\"collectdatatype\":\"", record.designation]);
    put(
        line,
        &["\",\"agent\":\"", AGENT, "\",\"endpoint\":\"", endpoint],
    );
    put(line, &["\",\"caller\":"]);
    text(line, record.caller);
    put(line, &[",\"statuscode\":"]);
    number(line, record.status);
    put(line, &[",\"outcome\":\"", record.outcome]);
    match json(record.data) {
        Some(json) => {
            put(line, &["\",\"data\":"]);
            one_line(line, json);
        }
        None => {
            put(line, &["\",\"data_base64\":\""]);
            base64(line, record.data);
            put(line, &["\""]);
        }
    }
    put(line, &["}\n"]);
}

const AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// A JSON string.
fn text(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        line.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                0..0x20 => line.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => line.push(byte),
            }
        }
    }
    line.push(b'"');
}

fn number(line: &mut Vec<u8>, number: u16) {
    match number {
        100..1000 => {
            let digit = |place: u16| b'0' + u8::try_from(number / place % 10).unwrap_or(0);
            line.extend_from_slice(&[digit(100), digit(10), digit(1)]);
        }
        _ => line.extend_from_slice(number.to_string().as_bytes()),
    }
}

/// JSON has line ends as white space only; within a string they are escaped.
fn one_line(line: &mut Vec<u8>, json: Json<'_>) {
    let begin = line.len();
    line.extend_from_slice(json.text);
    if json.has_line_ends {
        let copied = line.get_mut(begin..).unwrap_or_default();
        for byte in copied
            .iter_mut()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
        {
            *byte = b' ';
        }
    }
}

/// The digits of 12 bits each: two characters at a time.
static PAIRS: [[u8; 2]; 4096] = {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut pairs = [[0; 2]; 4096];
    let mut at = 0;
    while at < 4096 {
        #[expect(clippy::indexing_slicing, reason = "12 bits are two of 6; const")]
        {
            pairs[at] = [ALPHABET[at >> 6], ALPHABET[at & 63]];
        }
        at += 1;
    }
    pairs
};

/// Standard base64 with padding (RFC 4648 §4).
fn base64(line: &mut Vec<u8>, data: &[u8]) {
    let four = |chunk: [u8; 3]| {
        let word = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        let pair = |bits: u32| {
            let at = usize::try_from(bits & 4095).unwrap_or_default();
            PAIRS.get(at).copied().unwrap_or_default()
        };
        let (high, low) = (pair(word >> 12), pair(word));
        [high[0], high[1], low[0], low[1]]
    };
    let (chunks, rest) = data.as_chunks::<3>();
    for chunk in chunks {
        line.extend_from_slice(&four(*chunk));
    }
    let last = match *rest {
        [one] => {
            let [a, b, ..] = four([one, 0, 0]);
            [a, b, b'=', b'=']
        }
        [one, two] => {
            let [a, b, c, _] = four([one, two, 0]);
            [a, b, c, b'=']
        }
        _ => return,
    };
    line.extend_from_slice(&last);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::record;
    use super::*;

    fn line(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        push(&mut line, record, Uuid::from_u128(7));
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_every_attribute_of_the_event() {
        let names = record(b"1");
        let written = line(&Record {
            request_id: "r\"1",
            caller: "a\\b\n",
            content_type: "text/x; a=\"b\"",
            ..names.record()
        });
        assert!(written.ends_with('\n'));
        let event: Value = serde_json::from_str(&written).unwrap();
        let expected = serde_json::json!({
            "specversion": "1.0",
            "id": "00000000-0000-0000-0000-000000000007",
            "source": "/endpoints/iris/versions/blue",
            "type": "azureml.inference.inputs",
            "time": "2023-11-14T22:13:20.000Z",
            "datacontenttype": "text/x; a=\"b\"",
            "correlationid": "r\"1",
            "xrequestid": "r\"1",
            "modelversion": "blue",
            "collectdatatype": "inputs",
            "agent": AGENT,
            "endpoint": "iris",
            "caller": "a\\b\n",
            "statuscode": 200,
            "outcome": "answered",
            "data": 1,
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn json_stays_json_and_all_else_is_base64() {
        #[track_caller]
        fn check(data: &[u8], key: &str, expected: &str) {
            let line = line(&record(data).record());
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event[key].to_string(), expected, "{line}");
        }
        check(br#"{"a":[1,2]}"#, "data", r#"{"a":[1,2]}"#);
        check(b" 17 ", "data", "17");
        check(b"\xff\x00", "data_base64", r#""/wA=""#);
        check(b"{\"a\":", "data_base64", r#""eyJhIjo=""#);
        check(b"\"\xff\"", "data_base64", r#""Iv8i""#);
        check(b"1 2", "data_base64", r#""MSAy""#);
        check(b"", "data_base64", r#""""#);
    }

    #[test]
    fn json_stays_as_it_came_to_the_digit_on_one_line() {
        let names = record(b"{\"b\": 123456789012345678901,\n \"a\":\r\n 1.10, \"a\": 2}");
        let line = line(&names.record());
        let kept = "{\"b\": 123456789012345678901,  \"a\":   1.10, \"a\": 2}";
        assert!(line.contains(kept), "{line}");
        assert!(!line.trim_end().contains(['\n', '\r']), "{line}");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut line = Vec::new();
            base64(&mut line, plain.as_bytes());
            assert_eq!(String::from_utf8(line).unwrap(), coded);
        }
    }

    #[test]
    fn a_status_is_a_number_whatever_it_is() {
        for status in [0, 99, 100, 204, 599, 999, 1000] {
            let mut line = Vec::new();
            number(&mut line, status);
            assert_eq!(String::from_utf8(line).unwrap(), status.to_string());
        }
    }
}
