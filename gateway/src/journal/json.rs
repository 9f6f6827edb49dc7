//! Whether bytes are one JSON value (RFC 8259), and whether it stands on one
//! line: one pass, nothing is built.
//!
//! What is collected is looked at once for each body, and looking byte by byte
//! through a general parser was the dearest part of collecting. Takes exactly
//! what `serde_json` takes, at any depth. Pure; used by `event`.

/// A JSON value as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Json<'a> {
    /// The value, without the white space around it.
    pub(super) text: &'a [u8],
    /// Whether there is a line end in it.
    pub(super) has_line_ends: bool,
}

/// The value that the bytes are; none where they are not one.
pub(super) fn json(bytes: &[u8]) -> Option<Json<'_>> {
    // Outside of strings only ASCII is taken below; within, all that is UTF-8.
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.trim_matches([' ', '\t', '\n', '\r']).as_bytes();
    let mut reader = Reader {
        rest: text,
        has_line_ends: false,
    };
    reader.document()?;
    Some(Json {
        text,
        has_line_ends: reader.has_line_ends,
    })
}

/// What a value stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Array,
    Object,
}

struct Reader<'a> {
    rest: &'a [u8],
    has_line_ends: bool,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.white();
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'[' if !self.ends(b']') => {
                    open.push(Inside::Array);
                    continue;
                }
                b'{' if !self.ends(b'}') => {
                    open.push(Inside::Object);
                    self.key()?;
                    continue;
                }
                b'[' | b'{' => {}
                b'"' => self.string()?,
                b'-' => {
                    let (first, rest) = self.rest.split_first()?;
                    self.rest = rest;
                    self.number(*first)?;
                }
                b'0'..=b'9' => self.number(*first)?,
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                _ => return None,
            }
            if self.after_value(&mut open)? {
                return Some(());
            }
        }
    }

    /// Closes what ends after a value. Whether that was all; else there is a
    /// value to come.
    fn after_value(&mut self, open: &mut Vec<Inside>) -> Option<bool> {
        loop {
            let Some(inside) = open.last() else {
                return self.rest.is_empty().then_some(true);
            };
            self.white();
            let (next, rest) = self.rest.split_first()?;
            self.rest = rest;
            match (inside, next) {
                (Inside::Array, b',') => return Some(false),
                (Inside::Object, b',') => {
                    self.white();
                    self.key()?;
                    return Some(false);
                }
                (Inside::Array, b']') | (Inside::Object, b'}') => {
                    open.pop();
                }
                _ => return None,
            }
        }
    }

    fn white(&mut self) {
        while let [byte @ (b' ' | b'\t' | b'\n' | b'\r'), rest @ ..] = self.rest {
            self.has_line_ends |= matches!(byte, b'\n' | b'\r');
            self.rest = rest;
        }
    }

    /// Whether a container ends where it began.
    fn ends(&mut self, close: u8) -> bool {
        self.white();
        match self.rest.split_first() {
            Some((byte, rest)) if *byte == close => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn key(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix(b"\"")?;
        self.string()?;
        self.white();
        self.rest = self.rest.strip_prefix(b":")?;
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    fn digits(&mut self) {
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// The rest of a number, after its first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if let [b'.', rest @ ..] = self.rest {
            self.rest = rest;
            self.some_digits()?;
        }
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = match rest {
                [b'+' | b'-', rest @ ..] => rest,
                rest => rest,
            };
            self.some_digits()?;
        }
        Some(())
    }

    fn some_digits(&mut self) -> Option<()> {
        let before = self.rest.len();
        self.digits();
        (self.rest.len() < before).then_some(())
    }

    /// The rest of a string, after its first quote.
    fn string(&mut self) -> Option<()> {
        loop {
            while let Some((eight, rest)) = self.rest.split_first_chunk::<8>()
                && !has_special(u64::from_le_bytes(*eight))
            {
                self.rest = rest;
            }
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let (four, rest) = self.rest.split_first_chunk::<4>()?;
                self.rest = rest;
                four.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }
}

/// Whether one of eight bytes of a string is a quote, a backslash or a control
/// character. Bytes from 0x80 on may be taken for one, which costs time alone.
fn has_special(eight: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let is_zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let below_20 = eight.wrapping_sub(ONES * 0x20);
    let quote = is_zero(eight ^ (ONES * u64::from(b'"')));
    let backslash = is_zero(eight ^ (ONES * u64::from(b'\\')));
    (below_20 | quote | backslash) & HIGH != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[track_caller]
    fn check(bytes: &[u8]) {
        let expected = serde_json::from_slice::<&RawValue>(bytes).ok();
        let found = json(bytes);
        let shown = String::from_utf8_lossy(bytes);
        let text = found.map(|json| std::str::from_utf8(json.text).unwrap());
        assert_eq!(text, expected.map(RawValue::get), "{shown:?}");
        if let Some(json) = found {
            let has = json.text.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            assert_eq!(json.has_line_ends, has, "{shown:?}");
        }
    }

    #[test]
    fn the_grammar_is_that_of_json() {
        for text in [
            "0",
            "-0",
            "01",
            "-",
            "1.",
            "1.0",
            ".5",
            "1e5",
            "1E+5",
            "1e",
            "1e-",
            "--1",
            "+1",
            "1 2",
            "true",
            "tru",
            "truex",
            "false",
            "null",
            "nul",
            "NaN",
            "\"\"",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\u00e\"",
            "\"\\u00eg\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"a\nb\"",
            "\"seven b\\n\"",
            "\"a tab\there, late\"",
            "[]",
            "[ ]",
            "[1]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[",
            "]",
            "[1}",
            "{}",
            "{ }",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\" : 1 }",
            "{\"a\":1 \"b\":2}",
            "{\"a\":[{\"b\":[]}]}",
            " [1,\r\n2] ",
            "\n1\n",
            "",
            " ",
            "\u{feff}1",
            "\"ä and a quote\"",
            "\"ääääääää\"",
            "[1]x",
            "{\"a\":1}}",
        ] {
            check(text.as_bytes());
        }
        check(b"\"\xff\"");
        check(b"\xff");
        check(&b"[".repeat(100_000));
        let deep = [b"[".repeat(10_000), b"]".repeat(10_000)].concat();
        check(&deep);
    }

    proptest! {
        #[test]
        fn what_is_json_is_what_serde_takes(text in r#"[\[\]{}:,"0-9eE.+\\ untfarlse\n\t-]{0,24}"#) {
            check(text.as_bytes());
        }

        #[test]
        fn a_change_of_a_value_is_judged_alike(
            rows in proptest::collection::vec((any::<f64>(), any::<i64>(), ".{0,12}"), 0..6),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let text = serde_json::to_string_pretty(&serde_json::json!({"data": rows})).unwrap();
            check(text.as_bytes());
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            check(&bytes);
        }
    }
}
