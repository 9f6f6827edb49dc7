import assert from 'node:assert/strict';
import { test } from 'node:test';

import { auth, lifecycle } from './policy.js';

const caller = { subject: 'primary', tenant: '', scopes: [], attributes: [] };

function ask(tenant, soFar = caller) {
  lifecycle.configure('{"tenants": {"garden": ["primary"]}}');
  const headers = tenant ? [{ name: 'x-tenant', value: new TextEncoder().encode(tenant) }] : [];
  return auth.authenticate({ headers }, soFar);
}

test('a key acts for its own tenants only', () => {
  assert.equal(ask('garden').val.caller.tenant, 'garden');
  assert.equal(ask('kitchen').val.code, 'tenant-wrong');
  assert.equal(ask(undefined).val.code, 'tenant-missing');
});

test('without a caller another policy decides', () => {
  assert.equal(ask('garden', null).tag, 'pass');
});

test('problems of the settings are told by key', () => {
  assert.throws(
    () => lifecycle.configure('{"tenants": {"garden": []}, "tenant": 1}'),
    (error) => error.tag === 'misconfigured' && error.val.split('\n').length === 2,
  );
});
