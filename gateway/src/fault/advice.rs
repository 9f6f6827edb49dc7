//! What a fault means and what to do about it, for people who meet its code.
//!
//! Tells; decides nothing. Used by `tidegate explain fault`.

/// A fault in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The word in answers, log and metrics.
    pub code: &'static str,
    /// The status of its answer.
    pub status: u16,
    /// The title of its problem document.
    pub title: &'static str,
    /// When it comes.
    pub when: &'static str,
    /// What whoever sent the request can do; empty where nothing.
    pub caller: &'static str,
    /// What whoever runs the gateway can do; empty where nothing.
    pub operator: &'static str,
}

/// Every fault, in the order of [`super::CODES`].
pub const ADVICE: [Advice; super::CODES.len()] = [
    Advice {
        code: "malformed",
        status: 400,
        title: "Malformed request",
        when: "The request is not HTTP as the gateway takes it: it has two meanings, or a bad header, host, target or id, or two Authorization lines. It is never repaired.",
        caller: "Send what `detail` asks for. Dot segments, backslashes and broken escapes in the path must be resolved before the request is sent; an x-request-id has 1 to 100 visible ASCII characters.",
        operator: "",
    },
    Advice {
        code: "unauthenticated",
        status: 401,
        title: "Unauthenticated",
        when: "No auth policy of the endpoint granted the request: there is no credential, or a wrong one.",
        caller: "Send `Authorization: Bearer KEY` with a key of this endpoint. After a regenerate only the other key still holds.",
        operator: "`tidegate keys show ENDPOINT` shows both keys; `spec.auth` says which policies are asked. `policyCode` in the answer is the policy's own word.",
    },
    Advice {
        code: "forbidden",
        status: 403,
        title: "Forbidden",
        when: "An auth policy knows the caller and does not allow this.",
        caller: "Ask whoever runs the endpoint; the same request will be refused again.",
        operator: "`policies` in the access line says which policy it was, `policyCode` in the answer why.",
    },
    Advice {
        code: "not-found",
        status: 404,
        title: "Not found",
        when: "There is no endpoint of this name or host, or it has no version of the name in azureml-model-deployment, or the path is none of the version's `paths`. `detail` says which.",
        caller: "Check the address: /api/v1/service/ENDPOINT/score. A pinned version must exist.",
        operator: "`tidegate get endpoints`; list the path in `spec.versions[].paths` where callers may reach it.",
    },
    Advice {
        code: "method-not-allowed",
        status: 405,
        title: "Method not allowed",
        when: "The method is CONNECT or TRACE. Every other one is forwarded.",
        caller: "Use the method that the model takes, mostly POST.",
        operator: "",
    },
    Advice {
        code: "caller-timeout",
        status: 408,
        title: "Request timeout",
        when: "The gateway waited for a byte of the request's body longer than `limits.bodyIdleTimeout`.",
        caller: "Send the body without pauses; check that Content-Length is what is really sent.",
        operator: "Raise `spec.limits.bodyIdleTimeout` of the GatewayConfig for callers on slow lines.",
    },
    Advice {
        code: "body-too-large",
        status: 413,
        title: "Body too large",
        when: "The request's body is over the endpoint's `maxRequestBytes`.",
        caller: "Send fewer rows at once.",
        operator: "Raise `spec.maxRequestBytes` of the endpoint.",
    },
    Advice {
        code: "target-too-long",
        status: 414,
        title: "Target too long",
        when: "Path and query are over `limits.targetBytes`.",
        caller: "Put the data into the body.",
        operator: "Raise `spec.limits.targetBytes` of the GatewayConfig.",
    },
    Advice {
        code: "misdirected",
        status: 421,
        title: "Misdirected request",
        when: "The request names a host that belongs to another certificate than this connection showed.",
        caller: "Send it again on a new connection to that host; HTTP clients do so by themselves.",
        operator: "",
    },
    Advice {
        code: "rate-limited",
        status: 429,
        title: "Too many requests",
        when: "An auth policy says that the caller is over its rate.",
        caller: "Wait for as long as Retry-After says.",
        operator: "The rate is a setting of the policy: `config` of its binding in `spec.auth.policies`.",
    },
    Advice {
        code: "head-too-large",
        status: 431,
        title: "Head too large",
        when: "The request's head is over `limits.headBytes` or has more fields than `limits.headFields`, or its x-request-id is too long.",
        caller: "Send fewer or shorter headers; cookies and tokens are the usual cause.",
        operator: "Raise `spec.limits.headBytes` or `headFields` of the GatewayConfig.",
    },
    Advice {
        code: "caller-gone",
        status: 499,
        title: "Caller gone",
        when: "The caller closed its connection before its answer was complete. In log and metrics only; nobody is answered.",
        caller: "Wait longer than the endpoint's `maxQueueWait` and `scoringTimeout` together.",
        operator: "Many of them beside long `queueMs` mean too few slots: more replicas. `callerGone` says whether the replica computes on.",
    },
    Advice {
        code: "internal",
        status: 500,
        title: "Internal error",
        when: "The gateway itself failed in this exchange; others go on.",
        caller: "Try again once; report it with the request id.",
        operator: "The gateway's log has the reason beside the request id. It is a bug: report it.",
    },
    Advice {
        code: "replica-failed",
        status: 502,
        title: "Replica failed",
        when: "The replica refused the connection, closed or reset it, or answered what is no HTTP, and sending the request a second time was not safe or failed too.",
        caller: "Try again, where scoring twice does no harm.",
        operator: "`tidegate logs ENDPOINT` shows what the model server wrote: mostly it ended or ran out of memory. Where it closes idle connections sooner than `spec.limits.upstreamIdle` (1s), lower that.",
    },
    Advice {
        code: "overloaded",
        status: 503,
        title: "Overloaded",
        when: "No slot of the version came free within `maxQueueWait`, or `queueCapacity` requests were waiting already.",
        caller: "Wait for as long as Retry-After says, then try again; send fewer requests at once.",
        operator: "`tidegate plan --endpoint ENDPOINT` says how many replicas the load needs. Raise `autoscale.maxReplicas`, `maxConcurrentRequests` where the model server can do more at once, or `maxQueueWait`.",
    },
    Advice {
        code: "no-replica",
        status: 503,
        title: "No ready replica",
        when: "No replica of the version is ready, and none is being started, or the wait for one (`coldStartWait`) ended.",
        caller: "Wait for as long as Retry-After says, then try again.",
        operator: "`tidegate describe endpoint ENDPOINT` says why none is ready, `tidegate logs ENDPOINT` what the model server wrote.",
    },
    Advice {
        code: "policy-failed",
        status: 503,
        title: "Policy failed",
        when: "A plugin that had to be asked failed: it trapped, ran out of time or memory, or answered what the contract forbids. An auth policy that fails never lets a request pass.",
        caller: "Try again later.",
        operator: "`tidegate_policy_faults_total` counts by plugin and kind, the log has the reason. `tidegate plugin rollback NAME` goes back to the version before. For split, `onFailure: weights` answers by the weights instead.",
    },
    Advice {
        code: "draining",
        status: 503,
        title: "Draining",
        when: "The gateway is shutting down and takes no new request.",
        caller: "Try again; another gateway, or the same one after its restart, answers.",
        operator: "Take it out of the load balancer first: /readyz is 503 from the same moment on.",
    },
    Advice {
        code: "out-of-memory",
        status: 503,
        title: "Out of memory",
        when: "The gateway's process is at `limits.memory`; no exchange begins until it is below.",
        caller: "Wait for as long as Retry-After says, then try again.",
        operator: "Give it more memory, or take fewer and smaller requests: `spec.limits.memory`, `connections`, `streamsPerConnection` of the GatewayConfig.",
    },
    Advice {
        code: "scoring-timeout",
        status: 504,
        title: "Scoring timeout",
        when: "The model did not begin to answer within `scoringTimeout`, counted from the end of the request's body.",
        caller: "Send less work in one request.",
        operator: "`upstreamMs` in the access line says how long the model takes. Raise `spec.versions[].scoringTimeout`, or give the replicas more CPU.",
    },
];

/// What there is to say of a code; none where there is no such fault.
#[must_use]
pub fn advice(code: &str) -> Option<&'static Advice> {
    ADVICE.iter().find(|advice| advice.code == code)
}
