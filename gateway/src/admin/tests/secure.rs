//! The admin API over TLS.

use super::*;
use crate::resource::CertificateFiles;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_certificate_it_speaks_tls_only() {
    let admin = admin().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let certificate = CertificateFiles {
        cert_file: file("crt", include_str!("localhost.crt")),
        key_file: file("key", include_str!("localhost.key")),
    };
    let mut config = admin.config.clone();
    config.certificate = Some(certificate.clone());
    let token = Zeroizing::new("secret".to_owned());
    let (control, reload) = (&admin.control, reload(&admin.control));
    let secured = start(&config, token.clone(), Arc::clone(control), &reload)
        .await
        .unwrap();
    assert!(
        secured.url().starts_with("https://127.0.0.1:"),
        "{}",
        secured.url()
    );
    let curl = tokio::process::Command::new("curl")
        .args(["--silent", "--max-time", "20", "--cacert"])
        .arg(&certificate.cert_file)
        .args(["--header", "authorization: Bearer secret"])
        .arg(format!("{}/v1/status", secured.url()))
        .output()
        .await
        .unwrap();
    let status: Value = serde_json::from_slice(&curl.stdout).unwrap();
    assert_eq!(
        status["endpoints"]["total"],
        2,
        "{}",
        String::from_utf8_lossy(&curl.stderr)
    );
    let mut plain = TcpStream::connect(secured.url().strip_prefix("https://").unwrap())
        .await
        .unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP was answered");
    secured.stop().await;

    config.certificate = Some(CertificateFiles {
        cert_file: "/nowhere".into(),
        ..certificate
    });
    let error = start(&config, token, Arc::clone(control), &reload).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
    admin.control.stop().await;
}
