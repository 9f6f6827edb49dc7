//! What a request's target and authority may look like.
//!
//! Refuses what two parsers could read in two ways and never repairs anything
//! (SEMANTICS §2). Pure; used by `admit` and `route`.

/// Checks the path of a target: the path that a policy judges is the path that
/// is sent, so nothing in it may mean another path to a model server.
///
/// # Errors
///
/// What is wrong with it, for the caller.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err("the target does not begin with /");
    }
    // Dots of the segment so far; none where it has other characters.
    let mut dots = Some(0_u8);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let (byte, width) = if *byte == b'%' {
            (unescape(bytes, at)?, 3)
        } else if byte.is_ascii_graphic() && *byte != b'\\' {
            (*byte, 1)
        } else {
            return Err("a character in the path that must be escaped");
        };
        at += width;
        match byte {
            // An escaped `\` separates too: some servers read it so.
            b'/' | b'\\' | b';' => {
                refuse_dots(dots)?;
                dots = if byte == b';' { None } else { Some(0) };
            }
            b'.' => dots = dots.map(|n| n.saturating_add(1)),
            _ => dots = None,
        }
    }
    refuse_dots(dots)
}

fn refuse_dots(dots: Option<u8>) -> Result<(), &'static str> {
    match dots {
        Some(1 | 2) => Err("a dot segment in the path"),
        _ => Ok(()),
    }
}

fn unescape(bytes: &[u8], at: usize) -> Result<u8, &'static str> {
    let digit = |at: usize| {
        let byte = bytes.get(at).copied().unwrap_or_default();
        char::from(byte).to_digit(16)
    };
    let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
        return Err("a broken escape in the path");
    };
    match u8::try_from(high * 16 + low) {
        Ok(0) => Err("%00 in the path"),
        Ok(byte) => Ok(byte),
        Err(_) => Err("a broken escape in the path"),
    }
}

/// Whether an escaped slash stands in a part of a path.
pub(super) fn has_escaped_slash(path: &str) -> bool {
    path.as_bytes()
        .windows(3)
        .any(|three| matches!(three, [b'%', b'2', b'f' | b'F']))
}

/// Checks `HOST` or `HOST:PORT` and gives the host alone.
///
/// # Errors
///
/// What is wrong with it, for the caller.
pub(super) fn check_authority(authority: &str) -> Result<&str, &'static str> {
    const BAD: &str = "the host is not HOST or HOST:PORT";
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']').ok_or(BAD)?;
            inside
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_not_an_address| BAD)?;
            let host = authority.get(..inside.len() + 2).ok_or(BAD)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(BAD),
            }
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if host.is_empty() || !host.bytes().all(good) {
                return Err(BAD);
            }
            (host, port)
        }
    };
    let port_good = port.is_none_or(|port| {
        port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    if port_good { Ok(host) } else { Err(BAD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn path(path: &str, ok: bool) {
        assert_eq!(check_path(path).is_ok(), ok, "{path:?}");
    }

    #[test]
    fn a_path_has_one_meaning_or_none() {
        path("/", true);
        path("/score", true);
        path("/v1/models/a.b/..c/...", true);
        path("/v1/a%20b/%e2%82%ac", true);
        path("/v1/a%2fb", true);
        path("/v1//x", true);
        path("/.well-known/jwks.json", true);
        path("", false);
        path("*", false);
        path("score", false);
        path("/a/../b", false);
        path("/a/./b", false);
        path("/..", false);
        path("/.", false);
        path("/%2e%2e/b", false);
        path("/.%2E/b", false);
        path("/a%2f..%2fb", false);
        path("/a%2f%2e%2e", false);
        path("/a%5c..%5cb", false);
        path("/..;x=1/b", false);
        path("/a\\b", false);
        path("/a%00", false);
        path("/a%zz", false);
        path("/a%", false);
        path("/a%2", false);
        path("/ä", false);
        path("/a b", false);
    }

    #[test]
    fn escaped_slashes_are_seen() {
        assert!(has_escaped_slash("/api%2fv1"));
        assert!(has_escaped_slash("/api%2F"));
        assert!(!has_escaped_slash("/api/%20"));
    }

    #[track_caller]
    fn authority(text: &str, host: Option<&str>) {
        assert_eq!(check_authority(text).ok(), host, "{text:?}");
    }

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        authority("iris.example", Some("iris.example"));
        authority("iris.example:8443", Some("iris.example"));
        authority("127.0.0.1:1", Some("127.0.0.1"));
        authority("[::1]:8443", Some("[::1]"));
        authority("[::1]", Some("[::1]"));
        authority("", None);
        authority(":80", None);
        authority("a b", None);
        authority("u@x", None);
        authority("a/../b", None);
        authority("a,b", None);
        authority("a:", None);
        authority("a:99999", None);
        authority("a:-1", None);
        authority("[::1", None);
        authority("[x]", None);
        authority("[::1]x", None);
        authority("a:1:2", None);
    }
}
