"""An auth policy in Python: lets a key in only for the tenants listed for it.

A template: what a policy of another role exports stands in wit/policy.wit.
Settings: {"tenants": {"garden": ["primary"]}}. Stands behind `key-auth`.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.auth import Decision_Allow, Decision_Deny, Decision_Pass, Denial, Grant
from wit_world.imports.types import Caller, PluginError_Misconfigured

tenants = {}


def header(request, name):
    """The first header of that name (lower case), as text."""
    for one in request.headers:
        if one.name == name:
            return one.value.decode("utf-8", "replace")
    return None


def forbidden(code, detail):
    return Decision_Deny(Denial(403, code, detail, None, []))


class Lifecycle(exports.Lifecycle):
    def configure(self, settings):
        global tenants
        found = json.loads(settings or "{}") or {}
        problems = [f"{key}: unknown; there is only tenants" for key in found if key != "tenants"]
        tenants = found.get("tenants", {})
        for tenant, keys in tenants.items():
            if not keys:
                problems.append(f"tenants.{tenant}: no key, so nobody may act for it")
        if problems:
            raise Err(PluginError_Misconfigured("\n".join(problems)))

    def self_test(self):
        pass


class Auth(exports.Auth):
    def authenticate(self, request, so_far):
        if so_far is None:
            return Decision_Pass()
        tenant = header(request, "x-tenant")
        if tenant is None:
            return forbidden("tenant-missing", "say which tenant in x-tenant")
        if so_far.subject not in tenants.get(tenant, []):
            return forbidden("tenant-wrong", f"key {so_far.subject} may not act for {tenant}")
        caller = Caller(so_far.subject, tenant, so_far.scopes, so_far.attributes)
        return Decision_Allow(Grant(caller, 10_000))
