/**
 * Pages for people, without a script. Their policy lets them load one style sheet of this
 * deployment, post to it, and nothing else; nobody can put them into a frame.
 */
import type { RequestHandler, Response } from 'express';
import { ApiError } from '../api/errors.js';

/** Text that is HTML already. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = string | Html | readonly Html[];

/** HTML in which every value that is not HTML stands for itself, also within quotes. */
export function html(strings: TemplateStringsArray, ...values: readonly Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...values.map(written)));
}

function written(part: Part): string {
  if (typeof part === 'string') {
    return part.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
  }
  return part instanceof Html ? part.text : part.map(({ text }) => text).join('\n');
}

export interface Page {
  readonly status?: number;
  readonly title: string;
  readonly content: Html;
  /** Where a form's answer may redirect to: browsers hold it to the policy as well. */
  readonly redirectUri?: string | undefined;
}

export const STYLE_PATH = '/login/style.css';

export function sendPage(response: Response, page: Page): void {
  const { status = 200, title, content, redirectUri } = page;
  const targets = ["'self'", ...(redirectUri === undefined ? [] : [sourceOf(redirectUri)])];
  response.status(status).set({
    'Content-Security-Policy':
      `default-src 'none'; style-src 'self'; form-action ${targets.join(' ')}; ` +
      "base-uri 'none'; frame-ancestors 'none'",
    'X-Frame-Options': 'DENY',
    // With no-referrer a form would be posted as from nowhere.
    'Referrer-Policy': 'same-origin',
    'Content-Type': 'text/html; charset=utf-8',
  });
  const { text } = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<link rel="stylesheet" href="${STYLE_PATH}">
</head>
<body>
<main>
<h1>${title}</h1>
${content}
</main>
</body>
</html>
`;
  response.send(text);
}

/** A source as policies have them (CSP3, 2.3.1), which know no IPv6 addresses. */
function sourceOf(uri: string): string {
  const { protocol, origin, hostname } = new URL(uri);
  return /^https?:$/.test(protocol) && !hostname.startsWith('[') ? origin : protocol;
}

export const style: RequestHandler = (_request, response) => {
  response.type('css').send(STYLE);
};

const STYLE = `:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }
label { display: block; margin-top: 1rem; }
input, textarea { box-sizing: border-box; width: 100%; padding: 0.4rem; font: inherit; }
textarea, code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
button { margin: 1.5rem 0.5rem 0 0; padding: 0.4rem 1.2rem; font: inherit; }
.problem { border-left: 0.3rem solid #c22; padding-left: 0.7rem; }
`;

/**
 * Pages are gone to, by whatever link. What loads one in another way, a script or a frame, may act
 * for its user without his seeing it.
 */
export const navigationsOnly: RequestHandler = ({ headers }, _response, next) => {
  const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': target = 'document' } = headers;
  if (mode !== 'navigate' || target !== 'document') {
    throw new ApiError(
      'InsufficientScopes',
      'This page is for people: open it in a tab of its own, neither in a frame nor by a script',
    );
  }
  next();
};

/** A sentence about what was wrong, if anything was. */
export function problem(text: string | undefined) {
  return text === undefined ? '' : html`<p class="problem" role="alert">${text}</p>`;
}
