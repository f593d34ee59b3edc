/**
 * What happens on the page that `taskcluster signin` opens: a signed-in user creates a client, and the page
 * sends it to the local address on which the command line waits. Its HTML is in `new-client-form.ts`.
 *
 * It serves no third parties: a deployment has none.
 */
import type { Request, RequestHandler } from 'express';
import { createClient, type ScopeResolver } from '../auth/clients.js';
import { CLIENT_ID } from '../auth/names.js';
import { intersection, ordered, satisfies } from '../scopes.js';
import type { OpenSession, Store } from '../storage/store.js';
import { field } from './fields.js';
import { NEW_CLIENT_PATH, sendNewClient, sendNewClientForm, type Wish } from './new-client-form.js';
import { sendProblem } from './pages.js';
import type { Sessions } from './sessions.js';
import { readTimeExpression } from './time-expression.js';
import { userOf } from './user.js';

/** The path at which Taskcluster's command line looks for the page. */
export const CREATE_PATH = '/auth/clients/create';

export interface NewClientOptions {
  readonly store: Store;
  readonly sessions: Sessions;
  readonly resolver: ScopeResolver;
}

/** Shows the form to a signed-in user, and the sign-in page to others. */
export function newClientPage({ sessions, resolver }: NewClientOptions): RequestHandler {
  return async (request, response) => {
    const session = await sessions.of(request);
    if (session === undefined) {
      const query = request.originalUrl.replace(/^[^?]*/, '');
      const back = new URLSearchParams({ continue: `/login${NEW_CLIENT_PATH}${query}` });
      response.redirect(`/login?${back}`);
      return;
    }
    const wish = readWish(request.query, scopesOf(request.query));
    if (typeof wish === 'string') {
      sendProblem(response, 400, wish);
      return;
    }
    const held = await resolver.expandScopes(userOf(session).scopes());
    sendNewClientForm(response, session, { ...wish, scopes: intersection(wish.scopes, held) });
  };
}

/** Creates the client that the user has confirmed. */
export function makeNewClient(options: NewClientOptions): RequestHandler {
  return async (request, response) => {
    const session = await options.sessions.of(request);
    if (session === undefined) {
      response.redirect(303, '/login');
      return;
    }
    const words = (field(request.body, 'scope') ?? '').split(/\s+/).filter((word) => word !== '');
    const wish = readWish(request.body, words);
    if (typeof wish === 'string') {
      sendProblem(response, 400, wish);
      return;
    }
    const client = await make(options, session, request.ip ?? '', wish);
    if (typeof client === 'string') {
      sendNewClientForm(response, session, wish, client);
      return;
    }
    const { clientId, accessToken } = client;
    if (wish.callback === undefined) {
      sendNewClient(response, clientId, accessToken);
      return;
    }
    const callback = new URL(wish.callback);
    callback.searchParams.set('clientId', clientId);
    callback.searchParams.set('accessToken', accessToken);
    response.redirect(303, callback.href);
  };
}

/** Each `scope` of a query, of which there may be several. */
function scopesOf({ scope = [] }: Request['query']): string[] {
  return [scope].flat().filter((each) => typeof each === 'string');
}

/** The requested client, or a sentence about why the requester cannot have it. */
function readWish(from: unknown, scopes: readonly string[]): Wish | string {
  const callback = field(from, 'callback_url');
  if (callback !== undefined && !isOfThisMachine(callback)) {
    return 'The callback_url is not of this machine: run `taskcluster signin` where your browser is';
  }
  return {
    name: field(from, 'name') ?? '',
    description: field(from, 'description') ?? '',
    expires: field(from, 'expires') ?? '1 day',
    scopes,
    callback,
  };
}

/** An access token goes to this machine only, as from Taskcluster's own page: a link may name any URL. */
function isOfThisMachine(url: string): boolean {
  return /^https?:\/\/localhost(:[0-9]{1,5})?(\/|$)/.test(url) && URL.canParse(url);
}

/** The client, or a sentence about what to change. */
async function make(
  { store, resolver }: NewClientOptions,
  session: OpenSession,
  address: string,
  { name, description, scopes, expires }: Wish,
) {
  const user = userOf(session);
  const clientId = `${user.identity}/${name}`;
  if (name === '' || !CLIENT_ID.test(clientId)) {
    return 'A name is of letters, digits and !@/:.+|_-';
  }
  const span = readTimeExpression(expires) ?? 0;
  if (span <= 0 || span > LONGEST) {
    return 'Write for how long in words, such as 30 minutes, 3 days or 1 year';
  }
  if (/[\0\p{Surrogate}]/u.test(description) || description.length > LONGEST_DESCRIPTION) {
    return `Write at most ${LONGEST_DESCRIPTION} characters about what it is for`;
  }
  const held = await resolver.expandScopes(user.scopes());
  if (!satisfies(held, `auth:create-client:${clientId}`)) {
    return 'You may not make clients: the role login-identity:* has to have the scope auth:create-client:<..>/*';
  }
  if (!scopes.every(isScope) || !satisfies(held, { AllOf: scopes })) {
    return 'These are scopes that you do not have: take them away';
  }
  const until = new Date(Date.now() + span);
  const wanted = { clientId, description, scopes: ordered(scopes), expires: until };
  const by = { clientId: user.identity, address };
  const made = await createClient({ store, resolver }, { ...wanted, deleteOnExpiration: true }, by);
  return made ?? `There is a client ${clientId} already: choose another name`;
}

/** In milliseconds. */
const LONGEST = 1000 * 365 * 24 * 60 * 60 * 1000;

const LONGEST_DESCRIPTION = 10_240;

function isScope(text: string): boolean {
  return /^[!-~]+$/.test(text) && !text.endsWith('**');
}
