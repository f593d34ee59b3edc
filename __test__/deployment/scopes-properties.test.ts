// Scopes for generated inputs: which scope grants which, sets in normal form, and expressions, compared
// with a naive model of the rules; in the deployment, and in the core where it is visible.
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { startProxy } from 'taskcluster-proxy';
import {
  extended,
  granting,
  grants,
  intersection,
  missing,
  type ScopeExpression,
  satisfies,
  union,
  unionInSteps,
} from '../../ts/deployment/scopes.js';
import { holds } from '../harness/property.js';

/**
 * Scopes of few letters, so that many match each other; a star may stand anywhere and counts at the end
 * alone.
 */
const text = fc
  .array(fc.constantFrom('a', 'b', ':', '*', ' ', '~'), { maxLength: 5 })
  .map((letters) => letters.join(''));

const scopes = fc.array(text, { maxLength: 12 });

const { expression } = fc.letrec<{ expression: ScopeExpression }>((tie) => {
  const parts = fc.array(tie('expression'), { maxLength: 3 });
  return {
    expression: fc.oneof(
      { depthSize: 'small' },
      text,
      fc.record({ AllOf: parts }),
      fc.record({ AnyOf: parts }),
    ),
  };
});

// === The rules ===

/** The scopes that a scope grants: itself, or all with the prefix before its star. */
type Meaning = { readonly only: string } | { readonly every: string };

function meaningOf(scope: string): Meaning {
  return scope.endsWith('*') ? { every: scope.slice(0, -1) } : { only: scope };
}

/** Whether all that `wanted` stands for is among what `held` stands for. */
function covers(held: string, wanted: string): boolean {
  const [have, want] = [meaningOf(held), meaningOf(wanted)];
  if ('only' in have) {
    return 'only' in want && have.only === want.only;
  }
  return ('only' in want ? want.only : want.every).startsWith(have.every);
}

function coveredBy(held: readonly string[], wanted: string): boolean {
  return held.some((scope) => covers(scope, wanted));
}

/** What no other one covers, each once, in no order. */
function outermost(set: readonly string[]): Set<string> {
  const all = [...new Set(set)];
  return new Set(all.filter((one) => !all.some((other) => other !== one && covers(other, one))));
}

function isSatisfied(held: readonly string[], wanted: ScopeExpression): boolean {
  if (typeof wanted === 'string') {
    return coveredBy(held, wanted);
  }
  return 'AllOf' in wanted
    ? wanted.AllOf.every((each) => isSatisfied(held, each))
    : wanted.AnyOf.some((each) => isSatisfied(held, each));
}

// === The deployment ===

test('a scope grants another where it stands for all that the other stands for', async (t) => {
  await holds(t, 5000, fc.tuple(text, text), ([held, wanted]) => {
    assert.equal(grants(held, wanted), covers(held, wanted));
  });
});

test('a set says the same of a scope however often it is asked', async (t) => {
  const often = fc.array(text, { minLength: 20, maxLength: 40 });
  await holds(t, 1000, fc.tuple(scopes, often), ([held, wanted]) => {
    const isGranted = granting(held);
    for (const scope of [...wanted, ...held]) {
      assert.equal(isGranted(scope), coveredBy(held, scope), scope);
    }
  });
});

test('a set in normal form keeps the scopes that no other one grants, in one order', async (t) => {
  await holds(t, 2000, fc.tuple(scopes, scopes), ([a, b]) => {
    const all = [...a, ...b];
    const normal = union(a, b);
    assert.deepEqual(new Set(normal), outermost(all));
    assert.equal(new Set(normal).size, normal.length);
    assert.deepEqual(union(b, a), normal);
    assert.deepEqual(union(normal), normal);
    assert.deepEqual(extended(union(a), union(b)), normal);
    assert.deepEqual(finished(unionInSteps(all)), normal);
  });
});

test('the intersection of two sets is the scopes that both grant', async (t) => {
  await holds(t, 1000, fc.tuple(scopes, scopes, scopes), ([a, b, asked]) => {
    const both = intersection(a, b);
    for (const scope of [...a, ...b, ...asked]) {
      assert.equal(coveredBy(both, scope), coveredBy(a, scope) && coveredBy(b, scope), scope);
    }
  });
});

test('the missing part of an expression is what has to be added to satisfy it', async (t) => {
  await holds(t, 2000, fc.tuple(scopes, expression), ([held, wanted]) => {
    const left = missing(held, wanted);
    assert.equal(satisfies(held, wanted), isSatisfied(held, wanted));
    assert.equal(left === null, isSatisfied(held, wanted));
    if (left !== null) {
      assert.deepEqual(missing(held, left), left);
      const more = [...held, ...scopesIn(left)];
      assert.equal(isSatisfied(more, wanted), isSatisfied(more, left));
    }
  });
});

function scopesIn(expression: ScopeExpression): string[] {
  if (typeof expression === 'string') {
    return [expression];
  }
  return ('AllOf' in expression ? expression.AllOf : expression.AnyOf).flatMap(scopesIn);
}

function finished<Result>(steps: Generator<void, Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) {
      return step.value;
    }
  }
}

// === The core ===

test('a restricted proxy signs for what its restriction grants, and for nothing else', async (t) => {
  await holds(
    t,
    40,
    fc.tuple(scopes, fc.array(scopes, { maxLength: 20 })),
    async ([held, asked]) => {
      const authorizedScopes = held.filter((scope) => scope !== '');
      const proxy = await startProxy({
        rootUrl: 'http://127.0.0.1:1',
        credentials: { clientId: 'project/tester', accessToken: 'not-a-secret' },
        authorizedScopes,
        ipAddresses: ['127.0.0.1'],
        port: 0,
        logLevel: 'error',
      });
      try {
        for (const wanted of asked) {
          const { status } = await fetch(`${proxy.addresses[0]}/bewit`, {
            method: 'POST',
            headers: { 'X-Taskcluster-Authorized-Scopes': JSON.stringify(wanted) },
            body: 'https://tc.example.com/x',
            redirect: 'manual',
          });
          const isGranted = wanted.every((scope) => coveredBy(authorizedScopes, scope));
          assert.equal(status, isGranted ? 303 : 403, JSON.stringify(wanted));
        }
      } finally {
        await proxy.stop(0);
      }
    },
  );
});
