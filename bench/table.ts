// The results as rows: figures with what each peer has, and ours against its limits. Written to the
// terminal and, as Markdown, to the document.
import { FIGURES, type Figure, format, type Limit, type Medians } from './figures.js';

export interface Row {
  readonly figure: string;
  readonly unit: string;
  /** In the order of the peers. */
  readonly cells: readonly string[];
  /** A line for each limit that can be judged. */
  readonly verdicts: readonly Verdict[];
}

export interface Verdict {
  /** Ours to what it is compared with, or ours itself where the limit stands alone. */
  readonly ratio: string;
  readonly limit: string;
  readonly holds: boolean;
}

/** Of the figures that were measured. */
export function rows(medians: Medians, peers: readonly string[]): Row[] {
  return FIGURES.filter(({ key }) => peers.some((peer) => medians(key, peer) !== undefined)).map(
    (figure) => ({
      figure: figure.label,
      unit: figure.unit,
      cells: peers.map((peer) => format(medians(figure.key, peer), figure.unit)),
      verdicts: figure.limits.flatMap((limit) => verdict(figure, limit, medians)),
    }),
  );
}

/** Empty where ours, or what it is compared with, was not measured. */
function verdict({ key, unit }: Figure, limit: Limit, medians: Medians): Verdict[] {
  const own = medians(key, 'ours');
  const bound = limit.bound(medians);
  if (own === undefined || bound === undefined) {
    return [];
  }
  const reference = limit.reference?.(medians);
  const ratio = reference === undefined ? format(own, unit) : share(own, reference);
  const value = reference === undefined ? '' : ` (${format(bound, unit)})`;
  const holds = limit.side === 'at most' ? own <= bound : own >= bound;
  return [{ ratio, limit: `${limit.side} ${limit.text}${value}`, holds }];
}

function share(own: number, reference: number): string {
  return reference > 0 ? (own / reference).toFixed(2) : '';
}

const HEAD = ['figure', 'unit'];
const TAIL = ['ratio', 'limit', 'holds'];

/** One line for each limit; further ones of a figure below its first. */
function lines(table: readonly Row[]): string[][] {
  return table.flatMap(({ figure, unit, cells, verdicts }) => {
    const [first, ...others] = verdicts.map(({ ratio, limit, holds }) => [
      ratio,
      limit,
      holds ? 'yes' : 'NO',
    ]);
    const blank = ['', '', ...cells.map(() => '')];
    return [
      [figure, unit, ...cells, ...(first ?? ['', '', ''])],
      ...others.map((each) => [...blank, ...each]),
    ];
  });
}

export function asText(table: readonly Row[], peers: readonly string[]): string {
  const all = [[...HEAD, ...peers, ...TAIL], ...lines(table)];
  const widths = all[0]?.map((_, column) =>
    Math.max(...all.map((line) => line[column]?.length ?? 0)),
  );
  const isNumber = (column: number) =>
    column >= HEAD.length && column <= HEAD.length + peers.length;
  const pad = (cell: string, column: number) =>
    isNumber(column) ? cell.padStart(widths?.[column] ?? 0) : cell.padEnd(widths?.[column] ?? 0);
  return all.map((line) => line.map(pad).join('  ').trimEnd()).join('\n');
}

export function asMarkdown(table: readonly Row[], peers: readonly string[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = [...HEAD.map(() => '---'), ...peers.map(() => '---:'), '---:', '---', '---'];
  return [line([...HEAD, ...peers, ...TAIL]), line(rule), ...lines(table).map(line)].join('\n');
}
