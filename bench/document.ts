// Writes a run into docs/performance.md, between its two markers, with the chart beside it, and every value
// into bench/figures.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { BenchError } from './program.js';
import type { Report } from './report.js';
import { asMarkdown } from './table.js';

const DOCS = path.resolve(import.meta.dirname, '../docs');
const FIGURES = path.resolve(import.meta.dirname, 'figures');
const FROM = '<!-- figures of npm run bench: from here -->';
const TO = '<!-- figures of npm run bench: to here -->';

export function writeDocument(report: Report, svg: string): void {
  const file = path.join(DOCS, 'performance.md');
  const text = readFileSync(file, 'utf8');
  const [start, end] = [text.indexOf(FROM), text.indexOf(TO)];
  if (start < 0 || end < start) {
    throw new BenchError(`${file} has lost its markers: ${FROM} and ${TO}`);
  }
  const filled = `${text.slice(0, start)}${FROM}\n\n${section(report)}\n\n${text.slice(end)}`;
  writeFileSync(file, filled);
  writeFileSync(path.join(DOCS, 'performance.svg'), svg);
  writeFileSync(path.join(FIGURES, 'latest.json'), asJson(report));
}

export function asJson(report: Report): string {
  return `${JSON.stringify(report, undefined, 1)}\n`;
}

/** Where and when, in a line. */
export function caption({ date, machine, rounds }: Report): string {
  const { cpu, cores, memoryGib, system, kernel } = machine;
  const where = `${cores} cores of ${cpu}, ${memoryGib} GiB, ${system}, Linux ${kernel}`;
  return `${date.slice(0, 10)}; ${where}; medians of ${rounds}`;
}

function section(report: Report): string {
  const names = report.peers.map(({ name }) => name);
  const versions = report.peers
    .filter(({ version }) => version !== '')
    .map(({ name, version }) => `${name} ${version}`);
  const parts = [
    `${caption(report)}. ${versions.join(', ')}; Node ${report.machine.node}.`,
    "![CPU and latency of each proxy as a share of nginx's](performance.svg)",
    asMarkdown(report.table, names),
    ...report.notes,
    '[Every value of every round](../bench/figures/latest.json).',
    'How each was set up:',
    report.peers.map(({ name, settings }) => `- ${name}: ${settings}.`).join('\n'),
  ];
  return parts.join('\n\n');
}
