#!/bin/sh
# A whole controlled rollout with nothing but curl: an endpoint with one version, a second one
# beside it at 10 %, then 50 %, promoted to default at 100 %, and the old one deleted.
#   docs/rollout.sh STATE ENDPOINT OLD_ADDRESS NEW_ADDRESS
# STATE is the gateway's state folder; the addresses (HOST:PORT) are two running model servers.
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
        --header @"$work/token" --header "Content-Type: $type" --dump-header "$work/head" "$@" "$url"
}

# Waits until the endpoint and all its versions are Healthy, at most a minute.
healthy() {
    tries=0
    while states=$(call GET "$endpoint" | grep -o '"state":"[A-Za-z]*"' | sort -u); do
        [ "$states" = '"state":"Healthy"' ] && return
        case $states in *Failed*) break ;; esac
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || break
        sleep 0.5
    done
    echo "not healthy: $(call GET "$endpoint")" >&2
    exit 1
}

say() { echo "rollout: $*"; }
blue='{"name":"blue","static":{"addresses":["'$old'"]}'
green='{"name":"green","static":{"addresses":["'$new'"]}'

say "$name serves with blue"
call PUT "$endpoint" '{"apiVersion":"tidegate.dev/v1alpha1","kind":"Endpoint","metadata":{"name":"'"$name"'"},
    "spec":{"versions":['"$blue"',"default":true,"traffic":100}]}}' > /dev/null
healthy
say "green comes up beside it, without traffic; only if nobody changed the endpoint meanwhile"
revision=$(sed -n 's/^[Ee][Tt]ag: *\([^ ]*\).*/\1/p' "$work/head" | tr -d '\r')
call PATCH "$endpoint" '{"spec":{"versions":['"$blue"',"default":true,"traffic":100},'"$green"'}]}}' \
    --header "If-Match: $revision" > /dev/null
healthy
for share in 10 50 100; do
    say "green gets $share %"
    call PUT "$endpoint/traffic" '{"blue":'$((100 - share))',"green":'$share'}' > /dev/null
    healthy
done
say "green becomes the default, and blue is deleted"
call PATCH "$endpoint" '{"spec":{"versions":['"$green"',"default":true,"traffic":100}]}}' > /dev/null
healthy
