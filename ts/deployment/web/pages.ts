/**
 * Pages for users, without scripts. Their content security policy lets them load one style sheet of this
 * deployment and post to it, and nothing else; no other page can put them into a frame.
 */
import type { RequestHandler, Response } from 'express';
import { ApiError } from '../api/errors.js';

/** Text that is already HTML. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = string | Html | readonly Html[];

/** HTML that escapes every value that is not HTML, also within quotes. */
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
  /** Where a form's answer may redirect to: browsers apply the policy to it as well. */
  readonly redirectUri?: string | undefined;
  /** For tables. */
  readonly isWide?: boolean;
  /** The signed-in user, if the page shows it. */
  readonly user?: string;
}

export const STYLE_PATH = '/login/style.css';

export function sendPage(response: Response, page: Page): void {
  const { status = 200, title, content, redirectUri, isWide = false, user } = page;
  const targets = ["'self'", ...(redirectUri === undefined ? [] : [sourceOf(redirectUri)])];
  response.status(status).set({
    'Content-Security-Policy':
      `default-src 'none'; style-src 'self'; form-action ${targets.join(' ')}; ` +
      "base-uri 'none'; frame-ancestors 'none'",
    'X-Frame-Options': 'DENY',
    // With no-referrer a browser would post a form without its origin.
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
${isWide ? navigation(user) : html``}
<main id="main"${isWide ? html` class="wide"` : html``}>
<h1>${title}</h1>
${content}
</main>
</body>
</html>
`;
  response.send(text);
}

function navigation(user: string | undefined): Html {
  return html`<a class="skip" href="#main">Skip to the content</a>
<nav aria-label="Deployment">
<a href="/">Front page</a> <a href="/exposure">Exposure</a> <a href="/login">${user ?? 'Sign in'}</a>
</nav>`;
}

/** A source expression of a policy (CSP3, 2.3.1), which has no IPv6 addresses. */
function sourceOf(uri: string): string {
  const { protocol, origin, hostname } = new URL(uri);
  return /^https?:$/.test(protocol) && !hostname.startsWith('[') ? origin : protocol;
}

export const style: RequestHandler = (_request, response) => {
  response.type('css').send(STYLE);
};

const STYLE = `:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif;
  background: Canvas; color: CanvasText;
  --line: #c8c8c8; --good: #0a6b2d; --bad: #a8142b; --some: #7a4b00; --box: #f3f3f3; }
@media (prefers-color-scheme: dark) { :root { --line: #555; --good: #6fdc97; --bad: #ff9aa8;
  --some: #f2c063; --box: #262626; } }
main { max-width: 36rem; margin: 3rem auto; padding: 0 1rem; }
main.wide { max-width: 80rem; margin: 1.5rem auto; }
nav { max-width: 80rem; margin: 0.5rem auto; padding: 0 1rem; }
nav a { margin-right: 1.2rem; }
label { display: block; margin-top: 1rem; }
input, textarea { box-sizing: border-box; width: 100%; padding: 0.4rem; font: inherit; }
textarea, code { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
button { margin: 1.5rem 0.5rem 0 0; padding: 0.4rem 1.2rem; font: inherit; }
a, button, input, textarea, .scroll { outline-offset: 0.15rem; }
:focus-visible { outline: 0.18rem solid; }
.problem { border-left: 0.3rem solid #c22; padding-left: 0.7rem; }
.notice { border-left: 0.3rem solid var(--good); padding-left: 0.7rem; }
.skip:not(:focus), .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }
.question { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); }
.question button { justify-self: start; margin: 0; align-self: end; }
fieldset { border: 1px solid var(--line); border-radius: 0.3rem; min-width: 0; }
.choice { margin-top: 0.3rem; }
.choice input { width: auto; }
.summary { font-size: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: 0.3rem 0.8rem 0.3rem 0; text-align: left;
  vertical-align: top; font-weight: normal; }
thead th { font-weight: bold; }
td:first-child { white-space: nowrap; font-weight: bold; }
.yes, .opens { color: var(--bad); }
.for-some, .changes { color: var(--some); }
.no, .closes { color: var(--good); }
.tree, .tree ul { border-left: 1px solid var(--line); padding-left: 1.2rem; }
.tree { background: var(--box); padding: 0.6rem 0.6rem 0.6rem 1.6rem; }
@media print {
  nav, form, .question, .skip, #ask, #keep, #keep ~ * { display: none; }
  main.wide { max-width: none; margin: 0; }
  .scroll { overflow: visible; }
  table { font-size: 0.75rem; }
  tr { break-inside: avoid; }
}
`;

/**
 * Serves pages to navigations only, from any link. A script or a frame that loads a page could act for the
 * user unseen.
 */
export const navigationsOnly: RequestHandler = ({ headers }, _response, next) => {
  const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': target = 'document' } = headers;
  if (mode !== 'navigate' || target !== 'document') {
    throw new ApiError(
      'InsufficientScopes',
      'This page is for users: open it in a browser tab, neither in a frame nor by a script',
    );
  }
  next();
};

/** Answers a request that no form can mend. */
export function sendProblem(response: Response, status: number, sentence: string): void {
  sendPage(response, { status, title: 'This cannot be done', content: problem(sentence) });
}

/** A sentence about an error, if there is one. */
export function problem(text: string | undefined): Html {
  return text === undefined ? html`` : html`<p class="problem" role="alert">${text}</p>`;
}
