/** The HTML of the page on which a user creates a client. `new-client.ts` decides what it shows. */
import type { Response } from 'express';
import type { OpenSession } from '../storage/store.js';
import { html, problem, sendPage } from './pages.js';
import { userOf } from './user.js';

/** Its path under `/login`, the path of the session cookie. */
export const NEW_CLIENT_PATH = '/client';

/** The fields of the form, filled in as the command line asks. */
export interface Wish {
  /** The part of the client id after the user's identity and a slash. */
  readonly name: string;
  readonly description: string;
  readonly scopes: readonly string[];
  /** A time span in words. */
  readonly expires: string;
  /** The URL at which the command line waits; undefined to show the client on the page. */
  readonly callback: string | undefined;
}

/** The form, with a sentence about what was wrong with the last one. */
export function sendNewClientForm(
  response: Response,
  session: OpenSession,
  wish: Wish,
  wrong?: string,
): void {
  const { name, description, scopes, expires, callback } = wish;
  const { identity } = userOf(session);
  sendPage(response, {
    status: wrong === undefined ? 200 : 400,
    title: 'Make a client?',
    redirectUri: callback,
    content: html`${problem(wrong)}
<p>You are signed in as <code>${identity}</code>. A program that has this client can do what its
scopes allow, in your name.${callback === undefined ? '' : html` It is sent to <code>${callback}</code> on this machine.`}</p>
<form method="post" action="/login${NEW_CLIENT_PATH}">
${callback === undefined ? '' : html`<input type="hidden" name="callback_url" value="${callback}">`}
<label for="name">Name, behind <code>${identity}/</code></label>
<input id="name" name="name" value="${name}" required>
<label for="scope">Scopes, one on a line: take away what it shall not have</label>
<textarea id="scope" name="scope" rows="6" spellcheck="false">
${scopes.join('\n')}</textarea>
<label for="expires">For how long</label>
<input id="expires" name="expires" value="${expires}" required>
<label for="description">What for</label>
<input id="description" name="description" value="${description}">
<button type="submit">Make it</button>
</form>`,
  });
}

/** Shows a new client that no command line waits for. */
export function sendNewClient(response: Response, clientId: string, accessToken: string): void {
  sendPage(response, {
    title: 'The client has been made',
    content: html`<p>Its access token cannot be seen again.</p>
<p><code>TASKCLUSTER_CLIENT_ID=${clientId}</code></p>
<p><code>TASKCLUSTER_ACCESS_TOKEN=${accessToken}</code></p>`,
  });
}
