//! Every problem of `check`, each with its full text.
//!
//! The places are checked in the module above; here only what is told of them.

use super::problems;

/// `spec` of a resource of `kind`, and what is told of it.
#[track_caller]
fn check(kind: &str, spec: &str, expected: &[&str]) {
    let head = match kind {
        "endpoint" => "kind: Endpoint\nmetadata: {name: iris}",
        "plugin" => "kind: Plugin\nmetadata: {name: mine}",
        _ => "kind: GatewayConfig\nmetadata: {name: default}",
    };
    let text = format!("apiVersion: tidegate.dev/v1alpha1\n{head}\nspec: {spec}\n");
    let told: Vec<String> = problems(&text)
        .iter()
        .map(|problem| {
            let shown = problem.to_string();
            let object = format!("{}: ", problem.object);
            shown
                .split_once(&object)
                .map_or(shown.clone(), |(_, rest)| rest.to_owned())
        })
        .collect();
    assert_eq!(told, expected, "{spec}");
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_key_of_a_later_issue_is_refused_by_name_unless_it_has_its_default() {
    check("gateway", "{secrets: []}", &[]);
    check(
        "gateway",
        "{secrets: [{name: a, env: A}]}",
        &["spec.secrets: comes with a later version of Tidegate; leave it out"],
    );
    check(
        "gateway",
        "{limiters: [{name: a, requests: 1, per: 1m}]}",
        &["spec.limiters: comes with a later version of Tidegate; leave it out"],
    );
    check("gateway", "{telemetry: {otlp: null}}", &[]);
    check(
        "gateway",
        r#"{telemetry: {otlp: {url: "http://a"}}}"#,
        &[
            r#"spec.telemetry: comes with a later version of Tidegate; leave it out; until then it is {"otlp":null}"#,
        ],
    );
    check(
        "gateway",
        "{collect: {spool: {bytes: 1Gi}, door: {address: null}, sinks: [{name: default, format: cloudevents, roll: {every: 60s, bytes: 64Mi}}]}}",
        &[],
    );
    check(
        "gateway",
        r#"{collect: {spool: {bytes: 2Gi}, door: {address: "127.0.0.1:50011"}, sinks: [{name: default, format: csv}]}}"#,
        &[
            r#"spec.collect.spool: comes with a later version of Tidegate; leave it out; until then it is {"bytes":"1Gi","whenFull":"dropNewest"}"#,
            r#"spec.collect.door: comes with a later version of Tidegate; leave it out; until then it is {"address":null}"#,
            r#"spec.collect.sinks: comes with a later version of Tidegate; leave it out; until then it is [{"format":"cloudevents","name":"default","roll":{"bytes":"64Mi","every":"1m"},"url":null}]"#,
        ],
    );
    check(
        "gateway",
        "{accessLog: {format: common}}",
        &[
            "spec.accessLog.format: common comes with a later version of Tidegate; leave it out; until then it is json",
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", redirectToHttps: true, tls: {mode: acme, acme: {email: a}, hsts: 180d, clientAuth: {mode: required}}}]}"#,
        &[
            "spec.listeners[0].redirectToHttps: comes with a later version of Tidegate; leave it out; until then it is false",
            "spec.listeners[0].tls.mode: acme comes with a later version of Tidegate; until then: certificates, development or none",
            "spec.listeners[0].tls.acme: comes with a later version of Tidegate; leave it out",
            "spec.listeners[0].tls.hsts: comes with a later version of Tidegate; leave it out",
            r#"spec.listeners[0].tls.clientAuth: comes with a later version of Tidegate; leave it out; until then it is {"mode":"none"}"#,
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", redirectToHttps: false, tls: {acme: null, hsts: null, clientAuth: {mode: none}}}]}"#,
        &[],
    );
    check(
        "endpoint",
        r#"{cors: {origins: []}, mirror: {version: green}, fairness: caller, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            "spec.cors: comes with a later version of Tidegate; leave it out",
            "spec.mirror: comes with a later version of Tidegate; leave it out",
            "spec.fairness: comes with a later version of Tidegate; leave it out",
        ],
    );
    check(
        "endpoint",
        r#"{cors: null, mirror: null, fairness: null, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[],
    );
    check(
        "endpoint",
        r#"{auth: {mode: token}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            "spec.auth.mode: token comes with a later version of Tidegate; leave it out; until then: key, none or custom",
        ],
    );
    check(
        "endpoint",
        r#"{auth: {issuers: [{name: a}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.issuers: comes with a later version of Tidegate; leave it out"],
    );
    check(
        "endpoint",
        r#"{split: {sticky: {by: header}}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.split.sticky: comes with a later version of Tidegate; leave it out"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: key-auth, isolation: fresh}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.auth.policies[0].isolation: comes with a later version of Tidegate; leave it out; until then it is "reuse""#,
        ],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: token-auth}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            "spec.auth.policies[0].plugin: token-auth comes with a later version of Tidegate; leave it out",
        ],
    );
    check(
        "endpoint",
        r#"{collect: [{plugin: model-data, sink: other, when: {failures: true, callers: [a]}}], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.collect[0].sink: comes with a later version of Tidegate; leave it out; until then it is "default""#,
            "spec.collect[0].when.failures: comes with a later version of Tidegate; leave it out",
            "spec.collect[0].when.callers: comes with a later version of Tidegate; leave it out",
        ],
    );
    check(
        "endpoint",
        r#"{collect: [{plugin: model-data, sink: default, when: {callers: []}}], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, kubernetes: {image: a}}]}",
        &[
            "spec.versions[0].kubernetes: comes with a later version of Tidegate; leave it out; until then: process or static",
        ],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, grants: [http]}",
        &["spec.grants: comes with a later version of Tidegate; leave it out"],
    );
    check(
        "plugin",
        "{role: auth, source: {oci: a}}",
        &["spec.source.oci: comes with a later version of Tidegate; leave it out"],
    );
}

#[test]
fn a_gateway_that_does_not_fit_is_refused() {
    check(
        "gateway",
        "{threads: 2000}",
        &["spec.threads: 2000 is out of bounds; 0 to 1024"],
    );
    check(
        "gateway",
        "{threads: -1}",
        &["spec.threads: -1 is not a whole number from 0 up"],
    );
    check(
        "gateway",
        "{threads: 1.5}",
        &["spec.threads: 1.5 is not a whole number from 0 up"],
    );
    check(
        "gateway",
        "{treads: 1}",
        &["spec.treads: no such key; did you mean threads?"],
    );
    check(
        "gateway",
        "{listeners: []}",
        &["spec.listeners: no listener; at least one, or leave it out for https on 0.0.0.0:8443"],
    );
    check(
        "gateway",
        "{listeners: [{}]}",
        &[
            "spec.listeners[0]: name is missing",
            "spec.listeners[0]: address is missing",
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: A B, address: "8443"}]}"#,
        &[
            r#"spec.listeners[0].name: "A B" is not a listener's name: 1 to 32 lower-case letters, digits and `-`"#,
            r#"spec.listeners[0].address: "8443" is not ADDRESS:PORT, as in 0.0.0.0:8443 or [::1]:8443"#,
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1"}, {name: a, address: "127.0.0.1:1"}]}"#,
        &[
            r#"spec.listeners[1].name: "a" is the name of two listeners"#,
            r#"spec.listeners[1].address: 127.0.0.1:1 is taken by listener "a""#,
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:0"}, {name: b, address: "127.0.0.1:0"}]}"#,
        &[],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", tls: {mode: certificates}}]}"#,
        &[
            "spec.listeners[0].tls: mode certificates needs certificates, as in [{ certFile: tls.crt, keyFile: tls.key }]",
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", tls: {mode: none, certificates: [{certFile: a, keyFile: b}]}}]}"#,
        &[
            "spec.listeners[0].tls.certificates: mode none uses no certificates; leave one of the two out",
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", tls: {mode: development, certificates: [{certFile: a, keyFile: b}]}}]}"#,
        &[
            "spec.listeners[0].tls.certificates: mode development uses no certificates; leave one of the two out",
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", tls: {certificates: [{certFile: a}, {keyFile: ""}]}}]}"#,
        &[
            "spec.listeners[0].tls.certificates[0]: keyFile is missing",
            "spec.listeners[0].tls.certificates[1]: certFile is missing",
            r#"spec.listeners[0].tls.certificates[1].keyFile: "" is not a path"#,
        ],
    );
    check(
        "gateway",
        r#"{listeners: [{name: a, address: "127.0.0.1:1", tls: {mode: tls, policy: mordern}}]}"#,
        &[
            r#"spec.listeners[0].tls.mode: "tls" is not one of certificates, development, none, acme"#,
            r#"spec.listeners[0].tls.policy: "mordern" is not one of modern, compatible; did you mean modern?"#,
        ],
    );
    check(
        "gateway",
        r#"{admin: {address: "0.0.0.0:9443"}}"#,
        &[
            "spec.admin.address: 0.0.0.0:9443 is not loopback; there the admin API needs tls: { mode: certificates, certificates: […] }",
        ],
    );
    check(
        "gateway",
        "{admin: {address: here}}",
        &[r#"spec.admin.address: "here" is not ADDRESS:PORT, as in 0.0.0.0:8443 or [::1]:8443"#],
    );
    check(
        "gateway",
        "{admin: {tls: {mode: certificates}}}",
        &["spec.admin.tls: 0 certificates; mode certificates needs exactly one"],
    );
    check(
        "gateway",
        "{admin: {tls: {certificates: [{certFile: a, keyFile: b}]}}}",
        &["spec.admin.tls.certificates: mode none uses no certificates; write mode: certificates"],
    );
    check(
        "gateway",
        r#"{admin: {address: "0.0.0.0:9443", tls: {mode: certificates, certificates: [{certFile: a, keyFile: b}]}}}"#,
        &[],
    );
    check(
        "gateway",
        "{limits: {connections: 0, headFields: 5000, streamsPerConnection: 0}}",
        &[
            "spec.limits.connections: 0 is out of bounds; 1 to 10000000",
            "spec.limits.headFields: 5000 is out of bounds; 1 to 1000",
            "spec.limits.streamsPerConnection: 0 is out of bounds; 1 to 10000",
        ],
    );
    check(
        "gateway",
        "{limits: {headBytes: 1Ki, targetBytes: 1Mi}}",
        &[
            "spec.limits.headBytes: 1Ki is out of bounds; 8Ki to 1Mi",
            "spec.limits.targetBytes: 1Mi is out of bounds; 256 to 64Ki",
            "spec.limits.targetBytes: 1048576 bytes of a target do not fit headBytes of 1024",
        ],
    );
    check(
        "gateway",
        "{limits: {headBytes: 8Ki, targetBytes: 16Ki}}",
        &["spec.limits.targetBytes: 16384 bytes of a target do not fit headBytes of 8192"],
    );
    check(
        "gateway",
        "{limits: {headTimeout: 0s, tlsHandshakeTimeout: 2d, bodyIdleTimeout: 0s, idleTimeout: 0s}}",
        &[
            "spec.limits.headTimeout: 0s is out of bounds; 1ms to 1d",
            "spec.limits.tlsHandshakeTimeout: 2d is out of bounds; 1ms to 1d",
            "spec.limits.bodyIdleTimeout: 0s is out of bounds; 1ms to 1d",
            "spec.limits.idleTimeout: 0s is out of bounds; 1ms to 1d",
        ],
    );
    check(
        "gateway",
        "{limits: {upstreamIdle: 2d, drain: 2d}}",
        &[
            "spec.limits.upstreamIdle: 2d is out of bounds; 0s to 1d",
            "spec.limits.drain: 2d is out of bounds; 0s to 1d",
        ],
    );
    check(
        "gateway",
        r#"{trustedProxies: [10.0.0.0/8, 10.0.0.1, "::1", nowhere, 10.0.0.0/33]}"#,
        &[
            r#"spec.trustedProxies[3]: "nowhere" is not a network, as in 10.0.0.0/8 or ::1"#,
            r#"spec.trustedProxies[4]: "10.0.0.0/33" is not a network, as in 10.0.0.0/8 or ::1"#,
        ],
    );
    check("gateway", "{accessLog: {to: stderr}}", &[]);
    check("gateway", "{accessLog: {to: none}}", &[]);
    check(
        "gateway",
        r#"{accessLog: {to: ""}}"#,
        &[r#"spec.accessLog.to: "" is not a path"#],
    );
    check(
        "gateway",
        "{accessLog: {format: xml}}",
        &[r#"spec.accessLog.format: "xml" is not one of json, common"#],
    );
}

#[test]
fn a_plugin_that_does_not_fit_is_refused() {
    check(
        "plugin",
        "{}",
        &[
            "spec: source is missing: { file: PATH } or { shipped: NAME }",
            "spec: role is missing: auth, split or collect",
        ],
    );
    check(
        "plugin",
        "{role: auth}",
        &["spec: source is missing: { file: PATH } or { shipped: NAME }"],
    );
    check(
        "plugin",
        "{role: auth, source: {}}",
        &["spec.source: neither file nor shipped; exactly one"],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a, shipped: key-auth}}",
        &["spec.source: both file and shipped; exactly one"],
    );
    check(
        "plugin",
        "{role: auth, source: {shipped: kye-auth}}",
        &[
            r#"spec.source.shipped: "kye-auth" is not shipped; key-auth, weighted-split, model-data are; did you mean key-auth?"#,
        ],
    );
    check(
        "plugin",
        "{role: split, source: {shipped: key-auth}}",
        &["spec.role: split is not the role of what is shipped; it is auth"],
    );
    check("plugin", "{source: {shipped: key-auth}}", &[]);
    check(
        "plugin",
        "{role: atuh, source: {file: a}}",
        &[r#"spec.role: "atuh" is not one of auth, split, collect; did you mean auth?"#],
    );
    check(
        "plugin",
        r#"{role: auth, source: {file: ""}}"#,
        &[r#"spec.source.file: "" is not a path"#],
    );
    check(
        "plugin",
        r#"{role: auth, source: {file: a}, digest: "sha256:12"}"#,
        &[r#"spec.digest: "sha256:12" is not a digest: `sha256:` and 64 lower-case hex digits"#],
    );
    check(
        "plugin",
        r#"{role: auth, source: {file: a}, headers: ["a b", x-a, X-A]}"#,
        &[
            r#"spec.headers[0]: "a b" is not a header's name"#,
            "spec.headers[2]: x-a is there twice",
        ],
    );
    check(
        "plugin",
        "{role: split, source: {file: a}, headers: [authorization, cookie]}",
        &[
            "spec.headers[0]: authorization holds credentials, which only auth policies are shown",
            "spec.headers[1]: cookie holds credentials, which only auth policies are shown",
        ],
    );
    check(
        "plugin",
        "{role: collect, source: {file: a}, headers: [cookie]}",
        &["spec.headers[0]: cookie holds credentials, which only auth policies are shown"],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, metrics: [{}, {name: A, type: counter}, {name: a, type: gauge}]}",
        &[
            "spec.metrics[0]: name is missing",
            "spec.metrics[0]: type is missing",
            r#"spec.metrics[1].name: "A" is not a metric's or label's name: a lower-case letter, then those, digits and `_`, at most 64"#,
            r#"spec.metrics[2].type: "gauge" is not one of counter, histogram"#,
        ],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, metrics: [{name: a, type: counter}, {name: a, type: counter, labels: {B: [x]}}]}",
        &[
            "spec.metrics[1].name: a is there twice",
            r#"spec.metrics[1].labels.B: "B" is not a metric's or label's name: a lower-case letter, then those, digits and `_`, at most 64"#,
        ],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, metrics: [{name: a, type: counter, labels: {b: [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, v29, v30, v31, v32, v33, v34, v35, v36, v37, v38, v39], c: [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15, v16, v17, v18, v19, v20, v21, v22, v23, v24, v25, v26, v27, v28, v29, v30, v31, v32, v33, v34, v35, v36, v37, v38, v39]}}]}",
        &["spec.metrics[0].labels: the labels make 1600 series; at most 1000"],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, limits: {cpu: 0s, timeout: 11s, memory: 1Ki, instances: 0}}",
        &[
            "spec.limits.cpu: 0s is out of bounds; 1ms to 10s",
            "spec.limits.timeout: 11s is out of bounds; 1ms to 10s",
            "spec.limits.memory: 1Ki is out of bounds; 64Ki to 1Gi",
            "spec.limits.instances: 0 is out of bounds; 1 to 1024",
        ],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, limits: {cpu: 60ms}}",
        &["spec.limits: timeout of 50ms is below cpu of 60ms, which then has no effect"],
    );
    check(
        "plugin",
        "{role: auth, source: {file: a}, limits: {memory: 2Gi, instances: 2000}}",
        &[
            "spec.limits.memory: 2Gi is out of bounds; 64Ki to 1Gi",
            "spec.limits.instances: 2000 is out of bounds; 1 to 1024",
        ],
    );
}

#[test]
fn an_endpoint_that_does_not_fit_is_refused() {
    check("endpoint", "{}", &["spec: versions is missing"]);
    check(
        "endpoint",
        "{versions: []}",
        &["spec.versions: 0 versions; 1 to 6"],
    );
    check(
        "endpoint",
        "{versions: {}}",
        &["spec.versions: a map is not a list"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: ver-0, static: {addresses: ["127.0.0.1:1"]}}, {name: ver-1, static: {addresses: ["127.0.0.1:1"]}}, {name: ver-2, static: {addresses: ["127.0.0.1:1"]}}, {name: ver-3, static: {addresses: ["127.0.0.1:1"]}}, {name: ver-4, static: {addresses: ["127.0.0.1:1"]}}, {name: ver-5, static: {addresses: ["127.0.0.1:1"]}}, {name: ver-6, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions: 7 versions; 1 to 6"],
    );
    check(
        "endpoint",
        r#"{hosts: ["a b", "*.a", "a:1", "", -a, "[::1]"], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.hosts[0]: "a b" is not a host name: letters, digits and `-` between dots, without a port or `*`"#,
            r#"spec.hosts[1]: "*.a" is not a host name: letters, digits and `-` between dots, without a port or `*`"#,
            r#"spec.hosts[2]: "a:1" is not a host name: letters, digits and `-` between dots, without a port or `*`"#,
            r#"spec.hosts[3]: "" is not a host name: letters, digits and `-` between dots, without a port or `*`"#,
            r#"spec.hosts[4]: "-a" is not a host name: letters, digits and `-` between dots, without a port or `*`"#,
            r#"spec.hosts[5]: "[::1]" is not a host name: letters, digits and `-` between dots, without a port or `*`"#,
        ],
    );
    check(
        "endpoint",
        r#"{hosts: [a.example, A.example], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.hosts[1]: a.example is there twice"],
    );
    check(
        "endpoint",
        r#"{maxRequestBytes: 2Ti, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.maxRequestBytes: 2Ti is out of bounds; 0 to 1Ti"],
    );
    check(
        "endpoint",
        r#"{maxRequestBytes: 100MB, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.maxRequestBytes: "100MB" is not a size: a whole number of bytes, or one with Ki, Mi, Gi or Ti, as in 64Ki"#,
        ],
    );
    check(
        "endpoint",
        r#"{modelErrorsAs502: yes, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[r#"spec.modelErrorsAs502: "yes" is not true or false"#],
    );
    check(
        "endpoint",
        r#"{auth: {mode: kee}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[r#"spec.auth.mode: "kee" is not one of key, token, none, custom; did you mean key?"#],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth: mode custom needs policies, at least one"],
    );
    check(
        "endpoint",
        r#"{auth: {policies: [{plugin: key-auth}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.policies: policies beside mode key; write mode: custom to have them asked"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: none, policies: [{plugin: key-auth}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.policies: policies beside mode none; write mode: custom to have them asked"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}, {plugin: key-auth}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.policies: 17 policies; at most 16"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.policies[0]: plugin is missing"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: kay-auth}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[r#"spec.auth.policies[0].plugin: no plugin is named "kay-auth"; did you mean key-auth?"#],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: x}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[r#"spec.auth.policies[0].plugin: "x" has 1 characters; a name has 3 to 32"#],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: model-data}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.policies[0].plugin: model-data is a plugin for collect, not for auth"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: key-auth, cacheBy: [x-user]}]}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.policies[0].cacheBy[0]: x-user is not among the headers of plugin key-auth"],
    );
    check(
        "endpoint",
        r#"{auth: {mode: custom, policies: [{plugin: key-auth, cacheBy: [authorization]}], forwardCredential: 1}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.auth.forwardCredential: 1 is not true or false"],
    );
    check(
        "endpoint",
        r#"{split: {policy: {plugin: something-else}}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.split.policy.plugin: no plugin is named "something-else"; known for split: weighted-split"#,
        ],
    );
    check(
        "endpoint",
        r#"{split: {policy: {plugin: key-auth}}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.split.policy.plugin: key-auth is a plugin for auth, not for split"],
    );
    check(
        "endpoint",
        r#"{split: {policy: {plugin: weighted-split, cacheBy: [a]}}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.split.policy.cacheBy: only grants of auth policies are remembered; leave it out"],
    );
    check(
        "endpoint",
        r#"{split: {onFailure: reject, pin: maybe}, versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.split.onFailure: "reject" is not one of weights, refuse"#,
            r#"spec.split.pin: "maybe" is not true or false"#,
        ],
    );
    check(
        "endpoint",
        r#"{collect: [{}], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.collect[0]: plugin is missing"],
    );
    check(
        "endpoint",
        r#"{collect: [{plugin: model-data, bodyBytes: 2Mi, when: {sample: 101}, versions: [blu]}], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            "spec.collect[0].bodyBytes: 2Mi is out of bounds; 0 to 1Mi",
            "spec.collect[0].when.sample: 101 is not a percentage: 0 to 100, with at most two decimals",
            r#"spec.collect[0].versions[0]: no version is named "blu"; did you mean blue?"#,
        ],
    );
    check(
        "endpoint",
        r#"{collect: [{plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}, {plugin: model-data}], versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.collect: 17 policies; at most 16"],
    );
}

#[test]
fn versions_must_fit_each_other() {
    check(
        "endpoint",
        r#"{versions: [{name: blue, traffic: 70, static: {addresses: ["127.0.0.1:1"]}}, {name: green, traffic: 40, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions: traffic of 70 and 40 adds up to 110; at most 100"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, traffic: 33.33, static: {addresses: ["127.0.0.1:1"]}}, {name: green, traffic: 33.33, static: {addresses: ["127.0.0.1:1"]}}, {name: red, traffic: 33.35, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions: traffic of 33.33, 33.33 and 33.35 adds up to 100.01; at most 100"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, traffic: 33.33, static: {addresses: ["127.0.0.1:1"]}}, {name: green, traffic: 33.33, static: {addresses: ["127.0.0.1:1"]}}, {name: red, traffic: 33.34, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}}, {name: blue, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions[1].name: blue is the name of two versions"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, default: true, static: {addresses: ["127.0.0.1:1"]}}, {name: green, default: true, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions: blue and green are default; exactly one can be"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, default: false, static: {addresses: ["127.0.0.1:1"]}}, {name: green, default: false, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions: every version says default: false; exactly one is the default"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, type: control, static: {addresses: ["127.0.0.1:1"]}}, {name: green, type: control, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions: blue and green are control; at most one can be"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, type: controll, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[
            r#"spec.versions[0].type: "controll" is not one of control, treatment; did you mean control?"#,
        ],
    );
}

#[test]
fn a_version_that_does_not_fit_is_refused() {
    check(
        "endpoint",
        r#"{versions: [{static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions[0]: name is missing"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: B, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &[r#"spec.versions[0].name: "B" has 1 characters; a name has 3 to 32"#],
    );
    check(
        "endpoint",
        "{versions: [{name: blue}]}",
        &["spec.versions[0]: neither process nor static; exactly one says where replicas run"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [a]}, static: {addresses: ["127.0.0.1:1"]}}]}"#,
        &["spec.versions[0]: both process and static; exactly one says where replicas run"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, traffic: -1}]}"#,
        &["spec.versions[0].traffic: -1 is not a percentage: 0 to 100, with at most two decimals"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, traffic: 100.01}]}"#,
        &[
            "spec.versions[0].traffic: 100.01 is not a percentage: 0 to 100, with at most two decimals",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, traffic: 33.333}]}"#,
        &["spec.versions[0].traffic: 33.333 is more exact than 0.01 percent"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, traffic: .nan}]}"#,
        &[
            r#"spec.versions[0].traffic: ".nan" is not a percentage: 0 to 100, with at most two decimals"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, traffic: "many"}]}"#,
        &[
            r#"spec.versions[0].traffic: "many" is not a percentage: 0 to 100, with at most two decimals"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, maxConcurrentRequests: 0}]}"#,
        &["spec.versions[0].maxConcurrentRequests: 0 is out of bounds; 1 to 100000"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, maxQueueWait: 500}]}"#,
        &["spec.versions[0].maxQueueWait: 500 has no unit; write 500s or 500ms"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, maxQueueWait: -0s}]}"#,
        &[
            r#"spec.versions[0].maxQueueWait: "-0s" is not a duration: a whole number and ms, s, m, h or d, as in 500ms"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, maxQueueWait: 1.5s}]}"#,
        &[
            r#"spec.versions[0].maxQueueWait: "1.5s" is not a duration: a whole number and ms, s, m, h or d, as in 500ms"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, maxQueueWait: 0s, queueCapacity: 0}]}"#,
        &[],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, queueCapacity: 2000000}]}"#,
        &["spec.versions[0].queueCapacity: 2000000 is out of bounds; 0 to 1000000"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, scoringTimeout: 0s}]}"#,
        &["spec.versions[0].scoringTimeout: 0s is out of bounds; 1ms to 1d"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, streamIdleTimeout: 2d}]}"#,
        &["spec.versions[0].streamIdleTimeout: 2d is out of bounds; 1ms to 1d"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, callerGone: stop}]}"#,
        &[r#"spec.versions[0].callerGone: "stop" is not one of finish, abort"#],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, paths: []}]}"#,
        &[
            "spec.versions[0].paths: no path, so that no request could reach the model; write /* for all",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, paths: [score]}]}"#,
        &[
            r#"spec.versions[0].paths[0]: "score" is not a path: it starts with /, has no *, ?, #, %, \ or dot segment, and may end in /*"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, paths: ["/a b", "/a*", "/a/../b", "/a?b", "/*", "/v1/*"]}]}"#,
        &[
            r#"spec.versions[0].paths[0]: "/a b" is not a path: it starts with /, has no *, ?, #, %, \ or dot segment, and may end in /*"#,
            r#"spec.versions[0].paths[1]: "/a*" is not a path: it starts with /, has no *, ?, #, %, \ or dot segment, and may end in /*"#,
            r#"spec.versions[0].paths[2]: "/a/../b" is not a path: it starts with /, has no *, ?, #, %, \ or dot segment, and may end in /*"#,
            r#"spec.versions[0].paths[3]: "/a?b" is not a path: it starts with /, has no *, ?, #, %, \ or dot segment, and may end in /*"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, paths: [/p0, /p1, /p2, /p3, /p4, /p5, /p6, /p7, /p8, /p9, /p10, /p11, /p12, /p13, /p14, /p15, /p16, /p17, /p18, /p19, /p20, /p21, /p22, /p23, /p24, /p25, /p26, /p27, /p28, /p29, /p30, /p31, /p32, /p33, /p34, /p35, /p36, /p37, /p38, /p39, /p40, /p41, /p42, /p43, /p44, /p45, /p46, /p47, /p48, /p49, /p50, /p51, /p52, /p53, /p54, /p55, /p56, /p57, /p58, /p59, /p60, /p61, /p62, /p63, /p64, /p65, /p66, /p67, /p68, /p69, /p70, /p71, /p72, /p73, /p74, /p75, /p76, /p77, /p78, /p79, /p80, /p81, /p82, /p83, /p84, /p85, /p86, /p87, /p88, /p89, /p90, /p91, /p92, /p93, /p94, /p95, /p96, /p97, /p98, /p99, /p100]}]}"#,
        &["spec.versions[0].paths: 101 paths; at most 100"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, replicas: 2}]}"#,
        &[
            "spec.versions[0].replicas: static has as many replicas as addresses; leave replicas out",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, autoscale: {enabled: true}}]}"#,
        &[
            "spec.versions[0].autoscale: static has as many replicas as addresses; leave autoscale out",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, autoscale: {enabled: false}}]}"#,
        &[],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, replicas: 2, autoscale: {minReplicas: 1}}]}",
        &["spec.versions[0]: both replicas and autoscale; leave one of the two out"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, replicas: 2, autoscale: {enabled: false}}]}",
        &[],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, autoscale: {enabled: false}}]}",
        &["spec.versions[0]: autoscale is off and replicas is missing; write replicas: COUNT"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, replicas: 20000}]}",
        &["spec.versions[0].replicas: 20000 is out of bounds; 0 to 10000"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, autoscale: {minReplicas: 11}}]}",
        &[
            "spec.versions[0].autoscale.minReplicas: minReplicas of 11 is above maxReplicas of 10 (the default)",
        ],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, autoscale: {minReplicas: 5, maxReplicas: 2}}]}",
        &["spec.versions[0].autoscale.minReplicas: minReplicas of 5 is above maxReplicas of 2"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, autoscale: {targetUtilization: 0}}]}",
        &["spec.versions[0].autoscale.targetUtilization: 0 is out of bounds; 1 to 100"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a]}, autoscale: {refresh: 1ms, scaleDownDelay: 2d}}]}",
        &[
            "spec.versions[0].autoscale.refresh: 1ms is out of bounds; 100ms to 1h",
            "spec.versions[0].autoscale.scaleDownDelay: 2d is out of bounds; 0s to 1d",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, readiness: {path: health}}]}"#,
        &[
            r#"spec.versions[0].readiness.path: "health" is not a path: it starts with / and has visible ASCII only"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, readiness: {period: 1ms, timeout: 0s, successThreshold: 0, failureThreshold: 0}}]}"#,
        &[
            "spec.versions[0].readiness.period: 1ms is out of bounds; 100ms to 1h",
            "spec.versions[0].readiness.timeout: 0s is out of bounds; 1ms to 1d",
            "spec.versions[0].readiness.successThreshold: 0 is out of bounds; 1 to 1000",
            "spec.versions[0].readiness.failureThreshold: 0 is out of bounds; 1 to 1000",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, readiness: {initialDelay: 2d}}]}"#,
        &["spec.versions[0].readiness.initialDelay: 2d is out of bounds; 0s to 1d"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, resources: {requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 1, memory: 512Mi}}}]}"#,
        &[
            "spec.versions[0].resources.limits.cpu: 1 is below the request of 2",
            "spec.versions[0].resources.limits.memory: 512Mi is below the request of 1Gi",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, resources: {requests: {cpu: many, memory: 500m}, gpu: {count: 5000}}}]}"#,
        &[
            r#"spec.versions[0].resources.requests.cpu: "many" is not a quantity, as in 100m, 0.5, 2, 500M or 1Gi"#,
            r#"spec.versions[0].resources.requests.memory: "500m" is more exact than a byte (for millions of bytes write M)"#,
            "spec.versions[0].resources.gpu.count: 5000 is out of bounds; 0 to 1024",
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, tags: {a: 1}, properties: {b: true}}]}"#,
        &[
            r#"spec.versions[0].tags.a: 1 is not text; put it in quotes: "1""#,
            r#"spec.versions[0].properties.b: true is not text; put it in quotes: "true""#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1:1"]}, maxConcurentRequests: 2}]}"#,
        &[
            "spec.versions[0].maxConcurentRequests: no such key; did you mean maxConcurrentRequests?",
        ],
    );
}

#[test]
fn replicas_that_cannot_run_are_refused() {
    check(
        "endpoint",
        "{versions: [{name: blue, process: {}}]}",
        &["spec.versions[0].process: command is missing"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: a b}}]}",
        &[r#"spec.versions[0].process.command: "a b" is not a list"#],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: []}}]}",
        &["spec.versions[0].process.command: no program; write [PROGRAM, ARGUMENT…]"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [""]}}]}"#,
        &["spec.versions[0].process.command: no program; write [PROGRAM, ARGUMENT…]"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a, 5]}}]}",
        &[r#"spec.versions[0].process.command[1]: 5 is not text; put it in quotes: "5""#],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: ["a\0b"]}}]}"#,
        &[r#"spec.versions[0].process.command[0]: "a\0b" has a NUL character"#],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [a], env: {PORT: "1", AZUREML_MODEL_DIR: a, "A=B": c}}}]}"#,
        &[
            "spec.versions[0].process.env.PORT: PORT is set by the gateway; leave it out",
            "spec.versions[0].process.env.AZUREML_MODEL_DIR: AZUREML_MODEL_DIR is set by the gateway; write modelDir",
            r#"spec.versions[0].process.env.A=B: "A=B" is not the name of an environment variable"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [a], env: {A: "\0"}}}]}"#,
        &["spec.versions[0].process.env.A: the value has a NUL character"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [a], inheritEnv: ["", "A=B"]}}]}"#,
        &[
            r#"spec.versions[0].process.inheritEnv[0]: "" is not the name of an environment variable"#,
            r#"spec.versions[0].process.inheritEnv[1]: "A=B" is not the name of an environment variable"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [a], dir: "", modelDir: ""}}]}"#,
        &[
            r#"spec.versions[0].process.dir: "" is not a path"#,
            r#"spec.versions[0].process.modelDir: "" is not a path"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, process: {command: [a], user: "a:b"}}]}"#,
        &[r#"spec.versions[0].process.user: "a:b" is not a user's name"#],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, process: {command: [a], grace: 2h}}]}",
        &["spec.versions[0].process.grace: 2h is out of bounds; 0s to 1h"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, static: {}}]}",
        &["spec.versions[0].static: addresses is missing"],
    );
    check(
        "endpoint",
        "{versions: [{name: blue, static: {addresses: []}}]}",
        &["spec.versions[0].static.addresses: 0 addresses; 1 to 10000"],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["127.0.0.1", "127.0.0.1:0", ":1", "a b:1", "300.1.1.1:1", "host:1", "[::1]:1", "http://a:1"]}}]}"#,
        &[
            r#"spec.versions[0].static.addresses[0]: "127.0.0.1" is not HOST:PORT, as in 127.0.0.1:9001"#,
            r#"spec.versions[0].static.addresses[1]: "127.0.0.1:0" is not HOST:PORT, as in 127.0.0.1:9001"#,
            r#"spec.versions[0].static.addresses[2]: ":1" is not HOST:PORT, as in 127.0.0.1:9001"#,
            r#"spec.versions[0].static.addresses[3]: "a b:1" is not HOST:PORT, as in 127.0.0.1:9001"#,
            r#"spec.versions[0].static.addresses[4]: "300.1.1.1:1" is not HOST:PORT, as in 127.0.0.1:9001"#,
            r#"spec.versions[0].static.addresses[7]: "http://a:1" is not HOST:PORT, as in 127.0.0.1:9001"#,
        ],
    );
    check(
        "endpoint",
        r#"{versions: [{name: blue, static: {addresses: ["a:1", "a:1"]}}]}"#,
        &[
            "spec.versions[0].static.addresses[1]: a:1 is there twice, so that its slots would count twice",
        ],
    );
}

#[test]
fn every_list_has_a_limit() {
    let one = "static: {addresses: ['127.0.0.1:1']}";
    let versions = many(7, |i| format!("{{name: ver-{i}, {one}}}"));
    check(
        "endpoint",
        &format!("{{versions: [{versions}]}}"),
        &["spec.versions: 7 versions; 1 to 6"],
    );
    let with =
        |key: &str, list: &str| format!("{{{key}: {list}, versions: [{{name: blue, {one}}}]}}");
    let policies = many(17, |_| "{plugin: key-auth}".to_owned());
    check(
        "endpoint",
        &with("auth", &format!("{{mode: custom, policies: [{policies}]}}")),
        &["spec.auth.policies: 17 policies; at most 16"],
    );
    let policies = many(17, |_| "{plugin: model-data}".to_owned());
    check(
        "endpoint",
        &with("collect", &format!("[{policies}]")),
        &["spec.collect: 17 policies; at most 16"],
    );
    let paths = many(101, |i| format!("/p{i}"));
    check(
        "endpoint",
        &format!("{{versions: [{{name: blue, {one}, paths: [{paths}]}}]}}"),
        &["spec.versions[0].paths: 101 paths; at most 100"],
    );
    let metrics = many(33, |i| format!("{{name: m{i}, type: counter}}"));
    check(
        "plugin",
        &format!("{{role: auth, source: {{file: a}}, metrics: [{metrics}]}}"),
        &["spec.metrics: 33 metrics; at most 32"],
    );
    let values = many(40, |i| format!("v{i}"));
    check(
        "plugin",
        &format!(
            "{{role: auth, source: {{file: a}}, metrics: [{{name: a, type: counter, labels: {{b: [{values}], c: [{values}]}}}}]}}"
        ),
        &["spec.metrics[0].labels: the labels make 1600 series; at most 1000"],
    );
}
