use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    map
}

#[test]
fn every_field_of_a_request_has_its_rule() {
    #[track_caller]
    fn check(name: &str, expected: Rule) {
        assert_eq!(rule(name), expected, "{name}");
    }
    check("content-type", Rule::Pass);
    check("x-my_own", Rule::Pass);
    check("trailer", Rule::Pass);
    check("te", Rule::Drop);
    check("upgrade", Rule::Drop);
    check("expect", Rule::Drop);
    check("keep-alive", Rule::Drop);
    check("proxy-connection", Rule::Drop);
    check("x-tidegate-caller", Rule::Drop);
    check("x_tidegate_caller", Rule::Drop);
    check("x_forwarded_for", Rule::Drop);
    check("x-forwarded_for", Rule::Drop);
    check("x_request_id", Rule::Drop);
    check("azureml_model_deployment", Rule::Drop);
    check("transfer_encoding", Rule::Refuse);
    check("content_length", Rule::Refuse);
    check("x-forwarded-for", Rule::Forwarded);
    check("forwarded", Rule::Forwarded);
    check("connection", Rule::Connection);
}

#[test]
fn connection_names_what_ends_here_but_not_what_routes_or_proves() {
    #[track_caller]
    fn check(value: &str, expected: Option<&[&str]>) {
        let mut names = Vec::new();
        let result = named_by_connection(&value.parse().unwrap(), &mut names);
        let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        assert_eq!(result.is_ok().then_some(&names[..]), expected, "{value}");
    }
    check("keep-alive", Some(&[]));
    check("close", Some(&[]));
    check("Keep-Alive, TE", Some(&[]));
    check("close, x-hop ,, X-Other", Some(&["x-hop", "x-other"]));
    check("host", None);
    check("close, Authorization", None);
    check("content-length", None);
    check("x-forwarded-for", None);
    check("a b", None);
}

#[test]
fn forwarded_headers_of_a_stranger_are_replaced() {
    let cache = ForwardedCache::default();
    let mut headers = map(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=6.6.6.6"),
    ]);
    let authority = HeaderValue::from_static("iris:8443");
    let origin = Origin {
        peer: "192.0.2.7".parse().unwrap(),
        tls: false,
        trusted: false,
        authority: &authority,
    };
    cache.set(&mut headers, &origin);
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "iris:8443");
    assert_eq!(
        headers["forwarded"],
        "for=192.0.2.7;host=\"iris:8443\";proto=http"
    );
}

#[test]
fn forwarded_headers_of_a_trusted_proxy_are_kept_and_continued() {
    let cache = ForwardedCache::default();
    let mut headers = map(&[
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
    ]);
    let authority = HeaderValue::from_static("iris");
    let origin = Origin {
        peer: "10.0.0.1".parse().unwrap(),
        tls: false,
        trusted: true,
        authority: &authority,
    };
    cache.set(&mut headers, &origin);
    assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 10.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "https");
}

#[test]
fn the_callers_address_is_the_last_that_no_trusted_proxy_has() {
    #[track_caller]
    fn check(forwarded: &[&str], expected: &str) {
        let fields: Vec<_> = forwarded.iter().map(|v| ("x-forwarded-for", *v)).collect();
        let trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        let client = client_ip("10.0.0.1".parse().unwrap(), &map(&fields), trusted);
        assert_eq!(client.to_string(), expected, "{forwarded:?}");
    }
    check(&[], "10.0.0.1");
    check(&["192.0.2.1"], "192.0.2.1");
    check(&["192.0.2.1, 10.0.0.2"], "192.0.2.1");
    check(&["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1");
    check(&["6.6.6.6", "192.0.2.1"], "192.0.2.1");
    check(&["192.0.2.1:443"], "192.0.2.1");
    check(&["[2001:db8::1]:443"], "2001:db8::1");
    check(&["6.6.6.6, nonsense, 10.0.0.2"], "10.0.0.2");
    check(&["10.0.0.3, 10.0.0.2"], "10.0.0.3");
}

#[test]
fn an_answer_has_one_length_and_a_status() {
    #[track_caller]
    fn check(status: u16, fields: &[(&str, &str)], ok: bool) {
        let status = StatusCode::from_u16(status).unwrap();
        let result = check_answer(status, &map(fields), None);
        assert_eq!(result.is_ok(), ok, "{status} {fields:?}: {result:?}");
    }
    check(200, &[("content-length", "3")], true);
    check(200, &[("transfer-encoding", "Chunked")], true);
    check(404, &[], true);
    check(599, &[], true);
    check(999, &[], false);
    check(101, &[], false);
    let both = [("content-length", "3"), ("transfer-encoding", "chunked")];
    check(200, &both, false);
    check(200, &[("transfer-encoding", "gzip")], false);
    check(200, &[("transfer-encoding", "gzip, chunked")], false);
    let twice = [
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "chunked"),
    ];
    check(200, &twice, false);
    check(
        200,
        &[("content-length", "3"), ("content-length", "3")],
        false,
    );
    check(200, &[("content-length", "+3")], false);
}

#[test]
fn hop_by_hop_fields_of_an_answer_end_here() {
    let mut headers = map(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x-checksum"),
        ("content-type", "application/json"),
    ]);
    strip_answer(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-type", "trailer"]);
    let mut alone = map(&[("proxy-connection", "keep-alive")]);
    strip_answer(&mut alone);
    assert!(alone.is_empty());
}

#[test]
fn a_head_for_a_replica_is_made_of_what_was_parsed() {
    let authority = HeaderValue::from_static("iris:8443");
    let id = HeaderValue::from_static("r-1");
    let mut parts = http::Request::get("https://iris:8443/api/v1/service/iris/v1/a?b=c")
        .version(Version::HTTP_2)
        .header("authorization", "Bearer secret")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "gzip")
        .header("content-type", "a/b")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let out = Outgoing {
        target: PathAndQuery::from_static("/v1/a?b=c"),
        forward_credential: false,
        id: &id,
        origin: Origin {
            peer: "::1".parse().unwrap(),
            tls: true,
            trusted: false,
            authority: &authority,
        },
        unknown_length: true,
        upgrade: None,
    };
    outgoing(&mut parts, &ForwardedCache::default(), out);
    assert_eq!(parts.uri, "/v1/a?b=c");
    assert_eq!(parts.version, Version::HTTP_11);
    let mut fields: Vec<(&str, &str)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    fields.sort_unstable();
    let expected = [
        ("connection", "te"),
        ("content-type", "a/b"),
        ("cookie", "a=1; b=2"),
        ("forwarded", "for=\"[::1]\";host=\"iris:8443\";proto=https"),
        ("host", "iris:8443"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("x-forwarded-for", "::1"),
        ("x-forwarded-host", "iris:8443"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "r-1"),
    ];
    assert_eq!(fields, expected);
}
