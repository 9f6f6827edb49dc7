//! TLS: which certificate is shown, what is agreed on, what a reload does.

use super::super::tls::client;
use super::*;

/// A certificate and its key in `folder`, with these names.
fn certificate(folder: &Path, file: &str, names: &[&str]) -> CertificateFiles {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = CertificateFiles {
        cert_file: folder.join(format!("{file}.crt")),
        key_file: folder.join(format!("{file}.key")),
    };
    // The key first, as any careful tool would.
    std::fs::write(&files.key_file, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&files.cert_file, made.cert.pem()).unwrap();
    files
}

fn secure(certificates: &[CertificateFiles]) -> Fixture {
    let tls = ListenerTls::Certificates {
        certificates: certificates.to_vec(),
        policy: TlsPolicy::Modern,
    };
    start(tls, &limits())
}

const FACTS: &str = "GET /facts HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_development_certificate_serves_both_protocols_and_says_so() {
    let fixture = start(ListenerTls::Development, &limits());
    let trusted = fixture.state.path().join("development/tls.crt");
    let socket = fixture.connect().await;
    let h1 = ["http/1.1"];
    let mut caller = client::connect(socket, &[&trusted], "localhost", &h1)
        .await
        .unwrap();
    assert_eq!(client::agreed(&caller).as_deref(), Some("http/1.1"));
    send(&mut caller, FACTS).await;
    let answer = read_answer(&mut caller).await;
    assert!(answer.contains("false Some((\"1.3\""), "{answer}");
    let both = ["h2", "http/1.1"];
    let socket = fixture.connect().await;
    let caller = client::connect(socket, &[&trusted], "127.0.0.1", &both)
        .await
        .unwrap();
    assert_eq!(client::agreed(&caller).as_deref(), Some("h2"));
    let warnings = fixture.listening.warnings().join("\n");
    assert!(warnings.contains("development certificate"), "{warnings}");
    let url = &fixture.listening.addresses()[0].url;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_chosen_by_name_and_the_first_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let one = certificate(folder.path(), "one", &["one.test"]);
    let two = certificate(folder.path(), "two", &["*.two.test"]);
    let trusted = [one.cert_file.clone(), two.cert_file.clone()];
    let trusted = [trusted[0].as_path(), trusted[1].as_path()];
    let fixture = secure(&[one, two]);
    for (name, shown, elsewhere) in [
        ("one.test", "[\"one.test\"]", "[\"*.two.test\"]"),
        ("a.two.test", "[\"*.two.test\"]", "[\"one.test\"]"),
    ] {
        let socket = fixture.connect().await;
        let mut caller = client::connect(socket, &trusted, name, &[]).await.unwrap();
        send(&mut caller, FACTS).await;
        let answer = read_answer(&mut caller).await;
        let expected = format!("Some((\"1.3\", {shown}, {elsewhere}))");
        assert!(answer.contains(&expected), "{answer}");
    }
    // A name that no certificate has gets the default, which is not its own.
    let socket = fixture.connect().await;
    let other = client::connect(socket, &trusted, "three.test", &[]).await;
    let error = other.unwrap_err().to_string();
    assert!(
        error.contains("not valid for name") || error.contains("NotValidForName"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_new_connections_and_drops_none() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "tls", &["one.test"]);
    let fixture = secure(std::slice::from_ref(&files));
    let trusted = [files.cert_file.as_path()];
    let socket = fixture.connect().await;
    let mut old = client::connect(socket, &trusted, "one.test", &[])
        .await
        .unwrap();
    // Broken: the old one stays, and that is said.
    let problems = fixture.listening.reload().problems();
    std::fs::write(&files.cert_file, "broken").unwrap();
    soon(async {
        while !problems
            .lock()
            .join(" ")
            .contains("listener l0: the old certificate stays")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let expires = fixture.metrics.certificate_expiry_seconds.with(&["l0"]);
    assert!(expires.value() > 0);

    certificate(folder.path(), "tls", &["two.test"]);
    soon(async {
        loop {
            let socket = fixture.connect().await;
            let caller = client::connect(socket, &trusted, "two.test", &[]).await;
            if caller.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    send(&mut old, FACTS).await;
    let answer = read_answer(&mut old).await;
    assert!(answer.contains("one.test"), "{answer}");
    soon(async {
        while fixture.events.since(0).last().map(|event| event.kind) != Some("CertificateReloaded")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(problems.lock().is_empty(), "{problems:?}");
    let kinds: Vec<_> = fixture
        .events
        .since(0)
        .iter()
        .map(|event| event.kind)
        .collect();
    assert!(kinds.contains(&"CertificateRefused"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_a_tls_port_is_closed() {
    let fixture = start(ListenerTls::Development, &limits());
    let mut caller = fixture.connect().await;
    send(&mut caller, GET).await;
    let answer = read_to_end(&mut caller).await;
    assert!(!answer.contains("HTTP"), "{answer}");
}
