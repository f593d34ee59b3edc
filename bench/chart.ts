// The chart of a run, as SVG: CPU and latency of each peer as a share of nginx's. Figures that nginx
// has no part in, or that are bounded by a number of their own, stand in the table alone.
import { FIGURES, type Figure, format, type Medians } from './figures.js';

const WIDTH = 980;
const LABEL = 430;
const RIGHT = 90;
const BAR = 13;
const GAP = 12;
const TOP = 76;
const BOTTOM = 34;

/** Bars end here, with their value beside them; nginx is 1. */
const MOST = 2;

/** In the order of the peers; those that come after them are grey. */
const COLOURS = ['#2563a8', '#8fa3b5', '#c4a35a', '#b5694d'];
const OTHERS = '#777777';

/** Its peers are those that were measured, `direct` left out. */
export function chart(medians: Medians, peers: readonly string[], caption: string): string {
  const shown = peers.filter((peer) => peer !== 'direct');
  const figures = FIGURES.filter(
    ({ key, isCharted }) => isCharted && (medians(key, 'nginx') ?? 0) > 0,
  );
  const group = shown.length * BAR + GAP;
  const height = TOP + figures.length * group + BOTTOM;
  const bars = figures.map((figure, at) => drawGroup(figure, medians, shown, TOP + at * group));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12">
<title>CPU and latency as a share of nginx's</title>
<rect width="${WIDTH}" height="${height}" rx="6" fill="#ffffff"/>
<text x="16" y="26" font-size="15" font-weight="600" fill="#222222">CPU and latency as a share of nginx's: less is better</text>
${legend(shown)}
${scale(height)}
${bars.join('\n')}
<text x="16" y="${height - 12}" font-size="11" fill="#666666">${escapeXml(caption)}</text>
</svg>
`;
}

function colour(at: number): string {
  return COLOURS[at] ?? OTHERS;
}

function legend(peers: readonly string[]): string {
  return peers
    .map((peer, at) => {
      const x = LABEL + at * 110;
      return `<rect x="${x}" y="42" width="11" height="11" fill="${colour(at)}"/><text x="${x + 16}" y="52" fill="#222222">${escapeXml(peer)}</text>`;
    })
    .join('\n');
}

function drawGroup(
  { key, label, unit }: Figure,
  medians: Medians,
  peers: readonly string[],
  top: number,
): string {
  const whole = medians(key, 'nginx') ?? Number.NaN;
  const middle = top + (peers.length * BAR) / 2 + 4;
  const parts = [
    `<text x="${LABEL - 10}" y="${middle}" text-anchor="end" fill="#222222">${escapeXml(label)}</text>`,
  ];
  for (const [at, peer] of peers.entries()) {
    const value = medians(key, peer);
    if (value !== undefined) {
      const length = Math.max(0, Math.min(value / whole, MOST)) * scaleWidth();
      const y = top + at * BAR;
      const told = `${format(value, unit)} ${unit}${value / whole > MOST ? ' →' : ''}`;
      parts.push(
        `<rect x="${LABEL}" y="${y}" width="${length.toFixed(1)}" height="${BAR - 2}" fill="${colour(at)}"/>`,
        `<text x="${(LABEL + length + 5).toFixed(1)}" y="${y + BAR - 3}" font-size="10" fill="#444444" stroke="#ffffff" stroke-width="3" paint-order="stroke">${escapeXml(told)}</text>`,
      );
    }
  }
  return parts.join('\n');
}

function scaleWidth(): number {
  return (WIDTH - LABEL - RIGHT) / MOST;
}

/** A line where nginx is. */
function scale(height: number): string {
  const x = LABEL + scaleWidth();
  return `<line x1="${x}" y1="${TOP - 8}" x2="${x}" y2="${height - BOTTOM}" stroke="#999999" stroke-dasharray="3 3"/>`;
}

function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}
