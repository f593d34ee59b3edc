/**
 * How a third party asks a user for credentials: the authorization endpoint of OAuth 2 (RFC 6749, 3.1
 * and 4), with Taskcluster's scopes and its parameter `expires`, and the page that asks the user.
 *
 * What it is not: `third-party.ts` gives for a code a token, and for a token the credentials. No
 * OAuth library in good care has the implicit grant, which Taskcluster's third parties may use.
 */
import type { Request, RequestHandler, Response } from 'express';
import type { ScopeResolver } from '../auth/clients.js';
import { intersection, satisfies } from '../scopes.js';
import type { OpenSession, Store, ThirdPartyGrant } from '../storage/store.js';
import { field } from './fields.js';
import { html, sendPage } from './pages.js';
import { hashOf, newId } from './random-ids.js';
import type { RegisteredClient, RegisteredClients } from './registered-clients.js';
import type { Sessions } from './sessions.js';
import { readTimeExpression } from './time-expression.js';
import { userOf } from './user.js';

/** Under the path of the login. */
export const AUTHORIZE_PATH = '/oauth/authorize';
export const DECISION_PATH = `${AUTHORIZE_PATH}/decision`;

export interface AuthorizationOptions {
  readonly store: Store;
  readonly sessions: Sessions;
  readonly registered: RegisteredClients;
  readonly resolver: ScopeResolver;
}

/** The client that a user has granted, as it is kept with a code or a token. */
export interface GrantedClient {
  readonly clientId: string;
  readonly description: string;
  readonly scopes: readonly string[];
  readonly expires: string;
  /** What the verifier that comes with the code has to hash to (RFC 7636, S256). */
  readonly challenge: string | undefined;
}

/** How a third party asks, once it is known where to send the user back to. */
interface Question {
  readonly thirdParty: RegisteredClient;
  readonly redirectUri: string;
  readonly responseType: string;
  readonly state: string | undefined;
  readonly challenge: string | undefined;
  /** For how long it wants the credentials, in words. */
  readonly lifetime: string;
}

/** What is kept of a question while its user thinks, beside what a grant has anyway. */
interface KeptQuestion extends Pick<Question, 'responseType' | 'state' | 'challenge' | 'lifetime'> {
  /** The session that it was put in: nobody answers for somebody else. */
  readonly session: string;
  readonly clientId: string;
}

interface Decision extends Omit<GrantedClient, 'expires' | 'challenge'> {
  readonly expires: Date;
}

/** By its code (RFC 6749, 4.1.2.1): told to the third party, or to the user where it cannot be. */
export class AuthorizationError extends Error {
  override readonly name: string = 'AuthorizationError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }

  get status(): number {
    return this.code === 'invalid_request' ? 400 : 403;
  }
}

/** An answer to a question that was not put, not to this user, or that has been answered. */
class ForbiddenError extends AuthorizationError {
  override readonly name = 'ForbiddenError';

  constructor() {
    super('access_denied', 'This question has been answered, or is too old: begin again');
  }
}

/** As RFC 6749 recommends (4.1.2), and Taskcluster has it for tokens as well. */
const GRANT_LIFETIME = 10 * 60 * 1000;
const QUESTION_LIFETIME = 30 * 60 * 1000;

/** Puts a third party's question to the user, or grants it where its users need not be asked. */
export function authorize(options: AuthorizationOptions): RequestHandler {
  const { registered, sessions } = options;
  return async (request, response) => {
    const question = readQuestion(request.query, registered);
    const session = await sessions.of(request);
    if (session === undefined) {
      const query = request.originalUrl.replace(/^[^?]*/, '');
      const back = new URLSearchParams({ continue: `/login${AUTHORIZE_PATH}${query}` });
      response.redirect(`/login?${back}`);
      return;
    }
    await tellingThirdParty(response, question, async () => {
      checkQuestion(question, request.query);
      const clientId = newClientId(session, question);
      const isAsked = !question.thirdParty.whitelisted || question.responseType !== 'code';
      if (isAsked) {
        await ask({ ...options, request, response, session, question, clientId });
        return;
      }
      const { scope: scopes } = question.thirdParty;
      const expires = new Date(Date.now() + (readTimeExpression(question.lifetime) ?? 0));
      const decision = { clientId, scopes, expires, description: describe(session, question) };
      response.redirect(await grant(options, session, question, decision));
    });
  };
}

/** Takes the user's answer. */
export function decide(options: AuthorizationOptions): RequestHandler {
  const { store, sessions, registered } = options;
  return async (request, response) => {
    const session = await sessions.of(request);
    if (session === undefined) {
      response.redirect('/login');
      return;
    }
    const idHash = hashOf(field(request.body, 'transaction_id') ?? '');
    const kept = await store.thirdPartyGrants.get('question', idHash, new Date());
    if (kept === undefined) {
      throw new ForbiddenError();
    }
    const details = kept.details as KeptQuestion;
    if (details.session !== sessions.mark(request)) {
      throw new ForbiddenError();
    }
    const question = revive(kept, details, registered);
    const isDenied = field(request.body, 'cancel') !== undefined;
    const decision = isDenied
      ? undefined
      : readDecision(request.body, details, describe(session, question));
    if (typeof decision === 'string') {
      const { clientId } = details;
      await ask({ ...options, request, response, session, question, clientId, problem: decision });
      return;
    }
    if ((await store.thirdPartyGrants.take('question', idHash, new Date())) === undefined) {
      throw new ForbiddenError();
    }
    await tellingThirdParty(response, question, async () => {
      if (decision === undefined) {
        throw new AuthorizationError('access_denied', 'The user denied it');
      }
      response.redirect(await grant(options, session, question, decision));
    });
  };
}

/** @throws AuthorizationError where the user must not be sent anywhere. */
function readQuestion(query: unknown, registered: RegisteredClients): Question {
  const clientId = field(query, 'client_id');
  if (clientId === undefined) {
    throw new AuthorizationError('invalid_request', 'Missing required parameter: client_id');
  }
  const redirectUri = field(query, 'redirect_uri') ?? '';
  const thirdParty = registered.find(clientId, redirectUri);
  if (thirdParty === undefined) {
    throw new AuthorizationError(
      'unauthorized_client',
      'Nothing is registered here under this client_id and redirect_uri: ask the operator of this ' +
        'deployment to register both, letter for letter',
    );
  }
  return {
    thirdParty,
    redirectUri,
    responseType: field(query, 'response_type') ?? '',
    lifetime: lifetimeOf(field(query, 'expires') ?? '', thirdParty),
    state: field(query, 'state'),
    challenge: field(query, 'code_challenge'),
  };
}

/** What is asked for, but never more than the third party may have; all of it by default. */
function lifetimeOf(asked: string, { maxExpires }: RegisteredClient): string {
  const span = readTimeExpression(asked);
  const most = readTimeExpression(maxExpires) ?? 0;
  return span !== undefined && span <= most ? asked : maxExpires;
}

/** @throws AuthorizationError for the third party to know */
function checkQuestion(question: Question, query: unknown): void {
  const { thirdParty, responseType, lifetime, challenge } = question;
  if (responseType === '') {
    throw new AuthorizationError('invalid_request', 'Missing required parameter: response_type');
  }
  if (responseType !== thirdParty.responseType) {
    throw new AuthorizationError(
      'unsupported_response_type',
      `Unsupported response type: ask for ${thirdParty.responseType}`,
    );
  }
  const asked = wordsOf(field(query, 'scope') ?? '')
    .sort()
    .join(' ');
  if (asked !== [...thirdParty.scope].sort().join(' ')) {
    throw new AuthorizationError(
      'invalid_scope',
      'Ask for exactly the scopes that are registered for this client',
    );
  }
  checkChallenge(challenge, field(query, 'code_challenge_method'));
  if ((readTimeExpression(lifetime) ?? 0) <= 0) {
    throw new AuthorizationError(
      'invalid_request',
      'expires lies in the past: ask for a later time',
    );
  }
}

/** A challenge that is the verifier itself would protect from nobody who has seen it. */
function checkChallenge(challenge: string | undefined, method: string | undefined): void {
  const isS256 = method === 'S256' && /^[\w-]{43}$/.test(challenge ?? '');
  if ((challenge !== undefined || method !== undefined) && !isS256) {
    throw new AuthorizationError(
      'invalid_request',
      'code_challenge has to be made by the code_challenge_method S256',
    );
  }
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** The id of the client that the user is asked for: another one every time. */
function newClientId(session: OpenSession, { thirdParty }: Question): string {
  return `${userOf(session).identity}/${thirdParty.clientId}-${newId().slice(0, 6)}`;
}

function describe(session: OpenSession, { thirdParty }: Question): string {
  const { identity } = userOf(session);
  return `Client generated by ${identity} for OAuth2 Client ${thirdParty.clientId}`;
}

interface Asking extends AuthorizationOptions {
  readonly request: Request;
  readonly response: Response;
  readonly session: OpenSession;
  readonly question: Question;
  readonly clientId: string;
  /** What was wrong with the answer before. */
  readonly problem?: string;
}

async function ask(asking: Asking): Promise<void> {
  const { store, sessions, resolver, request, response, session, question, clientId } = asking;
  const { thirdParty, redirectUri, responseType, state, challenge, lifetime } = question;
  const id = newId();
  const details: KeptQuestion = {
    session: sessions.mark(request) ?? '',
    clientId,
    responseType,
    lifetime,
    state,
    challenge,
  };
  await store.thirdPartyGrants.add({
    idHash: hashOf(id),
    kind: 'question',
    userName: session.user.name,
    thirdParty: thirdParty.clientId,
    redirectUri,
    details,
    expires: new Date(Date.now() + QUESTION_LIFETIME),
  });
  const user = userOf(session);
  const offered = intersection(thirdParty.scope, await resolver.expandScopes(user.scopes()));
  sendPage(response, {
    status: asking.problem === undefined ? 200 : 400,
    title: `Let ${thirdParty.clientId} act for you?`,
    redirectUri,
    content: html`${problem(asking.problem)}
<p>You are signed in as <code>${user.identity}</code>. <code>${thirdParty.clientId}</code> asks for
credentials of yours, with the scopes below, and gets them at <code>${redirectUri}</code>.</p>
<form method="post" action="/login${DECISION_PATH}">
<input type="hidden" name="transaction_id" value="${id}">
<label for="scope">Scopes, one on a line: take away what it shall not have</label>
<textarea id="scope" name="scope" rows="6" spellcheck="false">
${offered.join('\n')}</textarea>
<label for="expires">For how long, at most ${thirdParty.maxExpires}</label>
<input id="expires" name="expires" value="${lifetime}" required>
<label for="description">What for</label>
<input id="description" name="description" value="${describe(session, question)}">
<p>It will be known as the client <code>${clientId}</code>.</p>
<button type="submit">Allow</button>
<button type="submit" name="cancel" value="Deny" formnovalidate>Deny</button>
</form>`,
  });
}

/** A sentence about what was wrong, if anything was. */
export function problem(text: string | undefined) {
  return text === undefined ? '' : html`<p class="problem" role="alert">${text}</p>`;
}

/** @throws AuthorizationError where the third party is not registered any more */
function revive(
  { thirdParty: clientId, redirectUri }: ThirdPartyGrant,
  { responseType, state, challenge, lifetime }: KeptQuestion,
  registered: RegisteredClients,
): Question {
  const query = { client_id: clientId, redirect_uri: redirectUri, response_type: responseType };
  const question = readQuestion(query, registered);
  return { ...question, lifetime, state, challenge };
}

/** Longer ones than these are nobody's. */
const LONGEST_DESCRIPTION = 10_240;

/** What the user has decided, or what is wrong with it. */
function readDecision(
  form: unknown,
  { clientId, lifetime }: KeptQuestion,
  defaultDescription: string,
): Decision | string {
  const expires = field(form, 'expires') ?? lifetime;
  const span = readTimeExpression(expires);
  const until = span === undefined ? Date.parse(expires) : Date.now() + span;
  if (!(until > Date.now())) {
    return 'Write for how long in words, such as 30 minutes, 3 days or 1 year, or as a date to come';
  }
  const text = field(form, 'description') ?? '';
  if (text.length > LONGEST_DESCRIPTION || text.includes('\u0000')) {
    return `Write at most ${LONGEST_DESCRIPTION} characters about what it is for`;
  }
  return {
    clientId,
    description: text.trim() === '' ? defaultDescription : text,
    scopes: wordsOf(field(form, 'scope') ?? ''),
    // Past what a Date can be there is only what the third party may have at most.
    expires: new Date(Math.min(until, Date.now() + LONGEST_LIFETIME)),
  };
}

const LONGEST_LIFETIME = 1000 * 365 * 24 * 60 * 60 * 1000;

/**
 * Keeps what the user grants, and returns where to send him with what stands for it.
 *
 * @throws AuthorizationError
 */
async function grant(
  { store, resolver }: AuthorizationOptions,
  session: OpenSession,
  question: Question,
  { clientId, description, scopes, expires }: Decision,
): Promise<string> {
  const { thirdParty, redirectUri, responseType, challenge } = question;
  if (!satisfies(thirdParty.scope, { AllOf: scopes })) {
    throw new AuthorizationError('invalid_scope', 'These are scopes that it did not ask for');
  }
  const held = await resolver.expandScopes(userOf(session).scopes());
  if (!satisfies(held, `auth:create-client:${clientId}`)) {
    throw new AuthorizationError(
      'access_denied',
      'The user may not create clients: the role login-identity:* has to have the scope ' +
        'auth:create-client:<..>/*',
    );
  }
  const latest = Date.now() + (readTimeExpression(thirdParty.maxExpires) ?? 0);
  const client: GrantedClient = {
    clientId,
    description,
    scopes: intersection(scopes, held),
    expires: new Date(Math.min(expires.getTime(), latest)).toJSON(),
    challenge,
  };
  const id = newId();
  const kind = responseType === 'token' ? 'token' : 'code';
  const { name: userName } = session.user;
  await keepGrant(store, { kind, id, userName, thirdParty, redirectUri, client });
  const given = kind === 'code' ? { code: id } : { access_token: id, token_type: 'Bearer' };
  return addressOf(question, given);
}

/** Keeps a code or a token with the client that it stands for, for ten minutes. */
export async function keepGrant(
  store: Store,
  granted: {
    readonly kind: 'code' | 'token';
    readonly id: string;
    readonly userName: string;
    readonly thirdParty: Pick<RegisteredClient, 'clientId'>;
    readonly redirectUri: string;
    readonly client: GrantedClient;
  },
): Promise<void> {
  const { kind, id, userName, thirdParty, redirectUri, client } = granted;
  await store.thirdPartyGrants.add({
    idHash: hashOf(id),
    kind,
    userName,
    thirdParty: thirdParty.clientId,
    redirectUri,
    details: client,
    expires: new Date(Date.now() + GRANT_LIFETIME),
  });
}

async function tellingThirdParty(
  response: Response,
  question: Question,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof AuthorizationError)) {
      throw error;
    }
    const { code, message } = error;
    response.redirect(addressOf(question, { error: code, error_description: message }));
  }
}

/** In the fragment where a token was asked for, which then reaches no server (RFC 6749, 4.2.2). */
function addressOf(
  { redirectUri, responseType, state }: Question,
  answer: Readonly<Record<string, string>>,
): string {
  const parameters = new URLSearchParams(answer);
  if (state !== undefined) {
    parameters.set('state', state);
  }
  const url = new URL(redirectUri);
  if (responseType === 'token') {
    url.hash = parameters.toString();
  } else {
    url.search = url.search === '' ? `${parameters}` : `${url.search}&${parameters}`;
  }
  return url.href;
}
