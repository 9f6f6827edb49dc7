#!/bin/sh
# A whole controlled rollout with nothing but curl: a new endpoint with the version blue; green beside
# it at 10 %, then 50 % and copies of the other half; promoted to default at 100 %; blue deleted.
#   docs/rollout.sh STATE ENDPOINT OLD_ADDRESS NEW_ADDRESS
# STATE is the gateway's state folder; the addresses (HOST:PORT) are two model servers, for 4 requests
# at once each. Somebody must call the endpoint meanwhile: what they send is copied and compared.
set -eu
state=$1 name=$2 old=$3 new=$4
admin=$(sed -n 's/.*"admin": *"\([^"]*\)".*/\1/p' "$state/run.json")
endpoint=$admin/v1/endpoints/$name
work=$(mktemp -d) # only this user can read it, so the token stays out of `ps`
trap 'rm -r "$work"' EXIT
printf 'Authorization: Bearer %s\n' "$(cat "$state/admin.token")" > "$work/token"

# call METHOD URL [BODY [CURL OPTION...]]: prints the answer; a refusal ends the script.
call() {
    method=$1 url=$2 body=${3-}
    [ $# -le 3 ] && set -- || shift 3
    [ -z "$body" ] || set -- --data "$body" "$@"
    [ "$method" = PATCH ] && type=application/merge-patch+json || type=application/json
    curl --silent --show-error --fail-with-body --max-time 30 --request "$method" \
        --header @"$work/token" --header "Content-Type: $type" "$@" "$url"
}
# await WHAT COMMAND...: waits until the command succeeds, at most a minute.
await() {
    what=$1 tries=0 && shift
    until "$@"; do
        [ $((tries += 1)) -lt 120 ] || { echo "$what: $(call GET "$endpoint")" >&2; exit 1; }
        sleep 0.5
    done
}
# The endpoint and all its versions are Healthy; Failed is final, so there is no more to wait for.
healthy() {
    states=$(call GET "$endpoint" | grep -o '"state":"[A-Za-z]*"' | sort -u)
    case $states in *Failed*) tries=120 ;; esac
    [ "$states" = '"state":"Healthy"' ]
}
# At least 20 copies were answered, at most one in 20 otherwise than blue did; shows all that came of them.
compared() {
    call GET "$admin/metrics" | grep "^tidegate_mirror_total{endpoint=\"$name\"" > "$work/copies" || return 1
    set -- $(awk '/skipped_/ { next } /failed|status_differs/ { bad += $NF } { n += $NF } END { print n + 0, bad + 0 }' "$work/copies")
    [ "$1" -ge 20 ] || return 1
    cat "$work/copies" && [ $(($2 * 20)) -gt "$1" ] || return 0
    echo "$2 of $1 copies failed at green or had another status; blue gets all again" >&2
    call PUT "$endpoint/traffic" '{"blue":100}' > "$work/answer" && exit 1
}
step() { echo "rollout: $1" && shift && "$@" > /dev/null && await 'not healthy' healthy; }

version() { echo '"maxConcurrentRequests":4,"static":{"addresses":["'"$1"'"]}'; }
step "$name serves with blue; not where it is there already" call PUT "$endpoint" '{"apiVersion":"tidegate.dev/v1alpha1",
    "kind":"Endpoint","metadata":{"name":"'"$name"'"},"spec":{"versions":[{"name":"blue","traffic":100,'"$(version "$old")"'}]}}' --header 'If-None-Match: *'
step 'green comes up beside it, without traffic' call PUT "$endpoint/versions/green" "{$(version "$new")}" --header 'If-None-Match: *'
step 'green gets 10 %' call PUT "$endpoint/traffic" '{"blue":90,"green":10}'
step 'green gets 50 %' call PUT "$endpoint/traffic" '{"blue":50,"green":50}'
step 'copies of the other half go to green too' call PATCH "$endpoint" '{"spec":{"mirror":{"version":"green","percent":100}}}'
await 'fewer than 20 copies were answered; does somebody call it?' compared
step 'no more copies' call PATCH "$endpoint" '{"spec":{"mirror":null}}'
step 'green gets 100 %' call PUT "$endpoint/traffic" '{"green":100}'
step 'green becomes the default' call PATCH "$endpoint/versions/green" '{"default":true}'
step 'blue is deleted' call DELETE "$endpoint/versions/blue"
