/**
 * The long proofs that a release waits for: generated cases, orders of threads, fuzzing and soaks, each for longer
 * than a change has to wait. A proof is one of the checkout's own commands, and how much of it is enough
 * stands here. It judges nothing itself: a proof fails where its command does.
 *
 *   node tools/proofs.mjs NAME...                  runs them in turn, or all of them with `all`
 *   node tools/proofs.mjs --plan                   says what each runs
 *
 * `--share 0.01` runs a hundredth of each, to try the commands.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { endWithSentence } from './ending.mjs';
import { shell } from './packages.mjs';
import { ROOT } from './platforms.mjs';

/** By name: how much of it, and the arguments of `npm run` for that, or with the variable that says so. */
const PROOFS = {
  wires: { amount: 100_000, command: (cases) => ['wires', '--', '--cases', cases] },
  schedules: { amount: 20_000, command: () => ['schedules'], variable: 'SCHEDULES' },
  fuzz: { amount: 30, isTime: true, command: (minutes) => ['fuzz', '--', '--minutes', minutes] },
  soak: { amount: 30, isTime: true, command: (minutes) => ['soak', '--', '--minutes', minutes] },
  'soak-deployment': {
    amount: 30,
    isTime: true,
    command: (minutes) => ['soak', '--', '--deployment', '--minutes', minutes],
  },
};

endWithSentence(main);

function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      plan: { type: 'boolean', default: false },
      share: { type: 'string', default: '1' },
    },
  });
  const known = Object.keys(PROOFS);
  const names = values.plan || positionals[0] === 'all' ? known : positionals;
  const unknown = names.find((name) => !known.includes(name));
  if (names.length === 0 || unknown !== undefined) {
    throw new Error(`Name proofs that there are: ${known.join(', ')}, or all.`);
  }
  const share = Number(values.share);
  if (!(share > 0)) {
    throw new Error('Give --share a number above 0: 1 is all that a release asks for.');
  }
  const plans = names.map((name) => ({ name, ...planOf(PROOFS[name], share) }));
  if (values.plan) {
    return console.log(plans.map(({ name, line }) => `${name.padEnd(16)} ${line}`).join('\n'));
  }
  const failed = plans.filter((plan) => !holds(plan)).map(({ name }) => name);
  if (failed.length > 0) {
    throw new Error(`These do not hold: ${failed.join(', ')}. What they found stands above.`);
  }
}

/** How a proof is run, and the same as a line for a shell. */
function planOf({ amount, isTime, command, variable }, share) {
  const scaled = amount * share;
  const much = `${isTime ? scaled : Math.ceil(scaled)}`;
  const args = ['run', ...command(much)];
  const environment = variable === undefined ? {} : { [variable]: much };
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
  return { args, environment, line: [...variables, 'npm', ...args].join(' ') };
}

function holds({ args, environment, line }) {
  console.log(`> ${line}`);
  const env = { ...process.env, ...environment };
  return spawnSync('npm', args, { cwd: ROOT, stdio: 'inherit', env, shell }).status === 0;
}
