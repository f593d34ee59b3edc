/**
 * The web server for users: local users sign in with a password and get temporary credentials while their
 * session lasts.
 *
 * For programs, `POST /login/local` with `{"name", "password"}` begins a session, and `POST /login/logout`
 * ends it; `GET /login/user` tells the signed-in user, and `POST /login/credentials` issues credentials. For
 * browsers, `GET /login` is the sign-in page; `GET /login/client` is a page on which a user creates a
 * client, as `taskcluster signin` asks for; and `GET /login/exposure` shows operators which caller may use
 * which endpoint.
 *
 * It is no service of the API. No endpoint of the services reads its cookie.
 */
import express, { type ErrorRequestHandler, type RequestHandler, type Router } from 'express';
import type { NativeCredentials } from 'taskcluster-proxy/internal';
import { announcedUpTo } from '../api/body-limit.js';
import { ApiError } from '../api/errors.js';
import { asApiError, type FaultListener, sendError } from '../api/router.js';
import { schemaError } from '../api/schema.js';
import type { ScopeResolver } from '../auth/clients.js';
import type { PublicUrl } from '../public-url.js';
import type { OpenSession, Store } from '../storage/store.js';
import { compareStates, exposurePage, writeRoles } from './exposure-page.js';
import { COMPARE_PATH, EXPOSURE_PATH, PAGE, WRITE_ROLE_PATH } from './exposure-view.js';
import { formWithFiles } from './form-with-files.js';
import { NAME } from './local-users.js';
import { makeNewClient, newClientPage } from './new-client.js';
import { NEW_CLIENT_PATH } from './new-client-form.js';
import { navigationsOnly, sendProblem, style } from './pages.js';
import { Sessions } from './sessions.js';
import { LONGEST_PASSWORD, type SignIn, signInByForm, signInPage, signingIn } from './sign-in.js';
import { TooManySignInsError } from './sign-in-queue.js';
import { userOf } from './user.js';

/** The path of all its pages. */
export const LOGIN_PATH = '/login';

export interface WebOptions {
  readonly store: Store;
  readonly resolver: ScopeResolver;
  /** The web server's own credentials, which issue those of users. */
  readonly credentials: NativeCredentials;
  readonly publicUrl: Pick<PublicUrl, 'of' | 'own' | 'announced'>;
  /** Audit logs of proxies, or folders of them. */
  readonly auditLogs: readonly string[];
  readonly onFault: FaultListener;
}

/** The router to mount at `LOGIN_PATH`. */
export function web(options: WebOptions): Router {
  const { store, credentials, publicUrl, onFault } = options;
  const sessions = new Sessions(store, publicUrl);
  const signIn = signingIn(store, sessions);
  const router = express.Router({ caseSensitive: true });
  router.use((_request, response, next) => {
    response.set('Cache-Control', 'no-store');
    next();
  });
  router.get('/style.css', style);
  router.get('/', navigationsOnly, signInPage(sessions));
  router.get(NEW_CLIENT_PATH, navigationsOnly, newClientPage({ ...options, sessions }));
  router.get(EXPOSURE_PATH, navigationsOnly, exposurePage({ ...options, sessions }));
  // The address of an answered form: a browser that opens it again has no form to send.
  router.get([COMPARE_PATH, WRITE_ROLE_PATH], (_request, response) => {
    response.redirect(303, PAGE);
  });
  router.use(ownPagesOnly);
  const readForm = [
    announcedUpTo(BODY_LIMIT),
    express.urlencoded({ extended: false, limit: BODY_LIMIT }),
  ];
  router.post('/', readForm, signInByForm(signIn));
  router.post(NEW_CLIENT_PATH, readForm, makeNewClient({ ...options, sessions }));
  router.post(WRITE_ROLE_PATH, readForm, writeRoles({ ...options, sessions }));
  const readState = [
    announcedUpTo(STATE_LIMIT),
    express.urlencoded({ extended: false, limit: STATE_LIMIT }),
    ...formWithFiles(STATE_LIMIT),
  ];
  router.post(COMPARE_PATH, readState, compareStates({ ...options, sessions }));
  const readText = [
    announcedUpTo(BODY_LIMIT),
    express.text({ type: 'application/json', limit: BODY_LIMIT }),
  ];
  router.post('/local', readText, signInByJson(signIn));
  router.post('/logout', async (request, response) => {
    await sessions.close(request, response);
    if (request.is('application/x-www-form-urlencoded')) {
      response.redirect(303, '/login');
    } else {
      response.status(200).end();
    }
  });
  router.get('/user', async (request, response) => {
    const session = signedIn(await sessions.of(request));
    const user = userOf(session);
    response.json({ identity: user.identity, scopes: user.scopes(), expires: session.expires });
  });
  router.post('/credentials', async (request, response) => {
    response.json(issue(signedIn(await sessions.of(request)), credentials));
  });
  router.use(answerError(onFault));
  return router;
}

const BODY_LIMIT = 16 * 1024;
/** A saved state lists every endpoint. */
const STATE_LIMIT = 1024 * 1024;

/**
 * Refuses requests from pages of other origins: they must neither use a session nor begin one. `SameSite`
 * alone admits pages of other ports of this machine, which belong to the same site.
 */
const ownPagesOnly: RequestHandler = ({ headers }, _response, next) => {
  const { origin, host } = headers;
  const site = headers['sec-fetch-site'];
  const isOwn = origin === undefined || origin === `http://${host}` || origin === `https://${host}`;
  if (!isOwn || site === 'cross-site' || site === 'same-site') {
    throw new ApiError(
      'InsufficientScopes',
      'Pages of another origin may not sign in here: call from a page of this deployment, or ' +
        'from a program',
    );
  }
  next();
};

const signInRequest = {
  $id: '/schemas/web-server/v1/local-sign-in.json#',
  type: 'object',
  properties: {
    name: { type: 'string', pattern: NAME.source },
    password: { type: 'string', minLength: 1, maxLength: LONGEST_PASSWORD },
  },
  additionalProperties: false,
  required: ['name', 'password'],
} as const;

function signInByJson(signIn: SignIn): RequestHandler {
  return async (request, response) => {
    if (!(await signIn(request, response, readSignIn(request.body)))) {
      throw new ApiError('AuthenticationFailed', 'There is no user with this name and password');
    }
    response.status(204).end();
  };
}

/** Checks the payload; its errors do not repeat it. */
function readSignIn(text: unknown): { name: string; password: string } {
  let body: unknown;
  try {
    body = JSON.parse(String(text));
  } catch {
    throw new ApiError(
      'MalformedPayload',
      'Payload must be JSON with content-type: application/json',
    );
  }
  const error = schemaError(signInRequest, body);
  if (error !== null) {
    throw new ApiError('InputValidationError', error);
  }
  return body as { name: string; password: string };
}

function signedIn(session: OpenSession | undefined): OpenSession {
  if (session === undefined) {
    throw new ApiError(
      'AuthenticationFailed',
      'You are not signed in: POST a name and a password to /login/local and keep the cookie',
    );
  }
  return session;
}

/** Lifetime of credentials in milliseconds, as in Taskcluster's own web server. */
const CREDENTIALS_LIFETIME = 15 * 60 * 1000;
/** How long before the expiry the client is told to renew. */
const RENEW_BEFORE = 30 * 1000;
/** How far a client's clock may be behind. */
const CLOCK_SKEW = 60 * 1000;

function issue(session: OpenSession, issuer: NativeCredentials): object {
  const time = Date.now();
  const expiry = Math.min(time + CREDENTIALS_LIFETIME, session.expires.getTime());
  const credentials = userOf(session).credentials(issuer, time - CLOCK_SKEW, expiry);
  return { credentials, expires: new Date(expiry - RENEW_BEFORE) };
}

/** A browser gets a page, every other client the JSON of the API. */
function answerError(onFault: FaultListener): ErrorRequestHandler {
  return (error: unknown, request, response, _next) => {
    if (error instanceof TooManySignInsError) {
      response
        .status(429)
        .set('Retry-After', '5')
        .json({ code: error.name, message: error.message });
      return;
    }
    const apiError = asApiError(error, onFault, response);
    if (!response.headersSent && request.accepts(['json', 'html']) === 'html') {
      sendProblem(response.set(apiError.headers), apiError.status, apiError.message);
      return;
    }
    // The error quotes nothing of the payload, which contains a password.
    const info = {
      method: `${request.method} ${request.baseUrl}${request.path}`,
      params: {},
      payload: {},
    };
    sendError(response, apiError, info);
  };
}
