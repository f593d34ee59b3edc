// biome-ignore-all lint/suspicious/noThenProperty: scope expression templates have it
// Scope templates for generated inputs: the expression with the parameters filled in, and the judgement
// without them, compared with a naive model of the rules.
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { passage, sufficient } from '../../ts/deployment/api/passage.js';
import {
  checkTemplate,
  needsOnly,
  type ParameterKind,
  parameterKinds,
  render,
  type ScopeParameters,
  type ScopeTemplate,
  ScopeTemplateError,
  type ScopeTemplatePart,
} from '../../ts/deployment/api/scope-template.js';
import { type ScopeExpression, satisfies } from '../../ts/deployment/scopes.js';
import { holds } from '../harness/property.js';

/** Names of each kind; some that every object has. */
const NAMES = {
  text: ['t', 'toString', 'n_1'],
  list: ['l', 'valueOf'],
  boolean: ['b', 'constructor'],
} as const;

const plain = fc
  .array(fc.constantFrom('a', 'b', ':', '*', '.', '<', '>'), { maxLength: 3 })
  .map((letters) => letters.join(''));

/** Text with parameters of these names; `<>` and the like are none. */
function textWith(names: readonly string[]): fc.Arbitrary<string> {
  const parameter = fc.constantFrom(...names).map((name) => `<${name}>`);
  return fc
    .array(fc.oneof(plain, parameter), { maxLength: 3 })
    .map((parts) => parts.join(''))
    .filter((text) => text !== '' && namesIn(text).every((name) => names.includes(name)));
}

function namesIn(text: string): string[] {
  return [...text.matchAll(/<([A-Za-z]\w*)>/g)].map(([, name = '']) => name);
}

interface Templates {
  template: ScopeTemplate;
  part: ScopeTemplatePart;
}

/** Templates that can be read: each name has one kind, but for the variable of a loop. */
const { template } = fc.letrec<Templates>((tie) => {
  const parts = fc.array(tie('part') as fc.Arbitrary<ScopeTemplatePart>, {
    minLength: 1,
    maxLength: 3,
  });
  const loop = fc.record({
    for: fc.constantFrom('each', 't'),
    in: fc.constantFrom(...NAMES.list),
    each: textWith(['each', 't']),
  });
  const condition = fc.record(
    {
      if: fc.constantFrom(...NAMES.boolean),
      then: tie('template') as fc.Arbitrary<ScopeTemplate>,
      else: tie('template') as fc.Arbitrary<ScopeTemplate>,
    },
    { requiredKeys: ['if', 'then'] },
  );
  return {
    template: fc.oneof(
      { depthSize: 'small' },
      textWith(NAMES.text),
      fc.record({ AllOf: parts }),
      fc.record({ AnyOf: parts }),
      condition as fc.Arbitrary<ScopeTemplate>,
    ),
    part: fc.oneof({ depthSize: 'small' }, tie('template') as fc.Arbitrary<ScopeTemplate>, loop),
  };
});

const value = fc
  .array(fc.constantFrom('a', 'b', ':', '*', '.', '$&', '<t>'), { maxLength: 3 })
  .map((letters) => letters.join(''));

/** A value for every name; lists hold something. */
const given = fc.record<Record<string, unknown>>({
  t: value,
  toString: value,
  n_1: fc.oneof(value, fc.integer()),
  each: value,
  l: fc.array(value, { minLength: 1, maxLength: 3 }),
  valueOf: fc.array(value, { minLength: 1, maxLength: 3 }),
  b: fc.boolean(),
  constructor: fc.boolean(),
}) as fc.Arbitrary<ScopeParameters>;

const held = fc.array(
  fc
    .array(fc.constantFrom('a', 'b', ':', '*', '.'), { maxLength: 4 })
    .map((letters) => letters.join('')),
  { maxLength: 6 },
);

// === The rules ===

/** The text, one character after the other: a value is put in as it is and not looked at again. */
function filledIn(text: string, given: ScopeParameters): string {
  let filled = '';
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('>', at);
    const name = text[at] === '<' && end > at ? text.slice(at + 1, end) : '';
    if (/^[A-Za-z][A-Za-z0-9_]*$/.test(name)) {
      filled += String(given[name]);
      at = end + 1;
    } else {
      filled += text[at];
      at += 1;
    }
  }
  return filled;
}

/** The parts that an expression has in the place of one part: none, one, or one for each value. */
function expressionsOf(part: ScopeTemplatePart, given: ScopeParameters): ScopeExpression[] {
  if (typeof part === 'string') {
    return [filledIn(part, given)];
  }
  if ('for' in part) {
    const values = given[part.in] as readonly string[];
    return values.map((each) => filledIn(part.each, { ...given, [part.for]: each }));
  }
  if ('if' in part) {
    const branch = given[part.if] ? part.then : part.else;
    return branch === undefined ? [] : expressionsOf(branch, given);
  }
  return 'AllOf' in part
    ? [{ AllOf: part.AllOf.flatMap((each) => expressionsOf(each, given)) }]
    : [{ AnyOf: part.AnyOf.flatMap((each) => expressionsOf(each, given)) }];
}

function passes(held: readonly string[], template: ScopeTemplate, given: ScopeParameters): boolean {
  return expressionsOf(template, given).every((expression) => satisfies(held, expression));
}

// === Filling in ===

test('a template comes to its expression with each parameter filled in once', async (t) => {
  await holds(t, 3000, fc.tuple(template, given), ([template, given]) => {
    assert.doesNotThrow(() => checkTemplate(template));
    const [expression = null] = expressionsOf(template, given);
    assert.deepEqual(render(template, given), expression);
  });
});

test('a template asks for its parameters and for no others', async (t) => {
  await holds(t, 2000, fc.tuple(template, given), ([template, given]) => {
    const kinds = parameterKinds(template);
    const asked = Object.fromEntries([...kinds.keys()].map((name) => [name, given[name] ?? '']));
    assert.deepEqual(render(template, asked), render(template, given));
    const texts = [...kinds].filter(([, kind]) => kind === 'text').map(([name]) => name);
    assert.equal(needsOnly(template, new Set(texts)), texts.length === kinds.size);
    const [first] = texts;
    if (first !== undefined) {
      assert.equal(needsOnly(template, new Set(texts.slice(1))), false);
    }
  });
});

const WRONG: Readonly<Record<ParameterKind, readonly unknown[]>> = {
  text: [undefined, null, true, ['a'], {}],
  list: [undefined, null, 'a', true, {}],
  boolean: [undefined, null, 'true', 0, []],
};

test('a parameter of a wrong kind is refused by its name, unless it stands in a branch that is not taken', async (t) => {
  const wrong = fc.nat();
  await holds(t, 2000, fc.tuple(template, given, wrong), ([template, given, at]) => {
    const kinds = [...parameterKinds(template)];
    const [name, kind] = kinds[at % Math.max(1, kinds.length)] ?? [];
    if (name === undefined || kind === undefined) {
      return;
    }
    const value = WRONG[kind][at % WRONG[kind].length];
    try {
      const rendered = render(template, { ...given, [name]: value } as ScopeParameters);
      // It stands in a branch that was not taken.
      assert.deepEqual(rendered, render(template, given));
    } catch (error) {
      assert.ok(error instanceof ScopeTemplateError, `${error}`);
      assert.ok(error.message.startsWith(`scope parameter ${name} must be `), error.message);
    }
  });
});

test('an invalid template is refused with a sentence at its declaration', async (t) => {
  const key = fc.constantFrom('AllOf', 'AnyOf', 'for', 'in', 'each', 'if', 'then', 'else');
  const anything = fc.anything({ key, maxDepth: 3, withNullPrototype: true });
  await holds(t, 3000, anything, (value) => {
    const template = value as ScopeTemplate;
    try {
      checkTemplate(template);
      render(template, {});
    } catch (error) {
      assert.ok(error instanceof ScopeTemplateError, `${error}`);
    }
  });
});

// === Before anything is filled in ===

test('a caller judged "always" passes with any parameters, and one judged "never" with none', async (t) => {
  const several = fc.array(given, { minLength: 8, maxLength: 8 });
  await holds(t, 3000, fc.tuple(template, held, several), ([template, held, several]) => {
    const said = passage(template, held);
    for (const given of several) {
      const does = passes(held, template, given);
      assert.ok(
        does ? said !== 'never' : said !== 'always',
        `${said} for ${JSON.stringify(given)}`,
      );
    }
  });
});

test('the sufficient scopes of a template pass with all parameters, if any scopes do', async (t) => {
  await holds(t, 3000, fc.tuple(template, given), ([template, given]) => {
    const everything = passage(template, ['*']) === 'always';
    const scopes = sufficient(template);
    assert.ok(!everything || passes(scopes, template, given), scopes.join());
  });
});
