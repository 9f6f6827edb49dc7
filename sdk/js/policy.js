// An auth policy in JavaScript: lets a key in only for the tenants listed for it.
//
// A template: what a policy of another role exports stands in wit/policy.wit.
// Settings: {"tenants": {"garden": ["primary"]}}. Stands behind `key-auth`.

let tenants = new Map();

/** The first header of that name (lower case), as text. */
function header(request, name) {
  const found = request.headers.find((one) => one.name === name);
  return found && String.fromCharCode(...found.value);
}

function forbidden(code, detail) {
  return { tag: 'deny', val: { status: 403, code, detail, retryAfterMs: undefined, headers: [] } };
}

export const lifecycle = {
  configure(settings) {
    const found = JSON.parse(settings || '{}') ?? {};
    const problems = Object.keys(found)
      .filter((key) => key !== 'tenants')
      .map((key) => `${key}: unknown; there is only tenants`);
    tenants = new Map(Object.entries(found.tenants ?? {}));
    for (const [tenant, keys] of tenants) {
      if (keys.length === 0) problems.push(`tenants.${tenant}: no key, so nobody may act for it`);
    }
    // What is thrown is the function's error; anything else would be a trap.
    if (problems.length > 0) throw { tag: 'misconfigured', val: problems.join('\n') };
  },

  selfTest() {},
};

export const auth = {
  authenticate(request, soFar) {
    if (!soFar) return { tag: 'pass' };
    const tenant = header(request, 'x-tenant');
    if (tenant === undefined) return forbidden('tenant-missing', 'say which tenant in x-tenant');
    if (!tenants.get(tenant)?.includes(soFar.subject)) {
      return forbidden('tenant-wrong', `key ${soFar.subject} may not act for ${tenant}`);
    }
    return { tag: 'allow', val: { caller: { ...soFar, tenant }, cacheMs: 10_000 } };
  },
};
