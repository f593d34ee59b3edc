/** The pages to sign in and out, and the start of a session, which programs use as well. */
import type { Request, RequestHandler, Response } from 'express';
import type { OpenSession, Store } from '../storage/store.js';
import { EXPOSURE_PATH } from './exposure-view.js';
import { field } from './fields.js';
import { NAME } from './local-users.js';
import { NEW_CLIENT_PATH } from './new-client-form.js';
import { html, problem, sendPage } from './pages.js';
import { hashPassword, isCheaper, isPassword } from './passwords.js';
import type { Sessions } from './sessions.js';
import { SignInQueue, TooManySignInsError } from './sign-in-queue.js';
import { userOf } from './user.js';

/** Longest password, in UTF-16 code units. */
export const LONGEST_PASSWORD = 1024;

/** Begins a session. @throws TooManySignInsError */
export type SignIn = (
  request: Request,
  response: Response,
  person: { readonly name: string; readonly password: string },
) => Promise<boolean>;

export function signingIn(store: Store, sessions: Sessions): SignIn {
  const queue = new SignInQueue();
  const attempts: SignIn = async (request, response, { name, password }) => {
    // Try again if the stored hash has changed during the check.
    for (let attempt = 1; attempt <= 2; attempt += 1) {
      const user = await store.users.get(name);
      if (!(await isPassword(password, user?.passwordHash)) || user === undefined) {
        return false;
      }
      if (await sessions.open(request, response, user)) {
        if (isCheaper(user.passwordHash)) {
          await store.users.rehash(name, user.passwordHash, await hashPassword(password));
        }
        return true;
      }
    }
    return false;
  };
  return (request, response, person) => {
    const applicant = { address: request.ip ?? '', name: person.name };
    return queue.run(applicant, () => attempts(request, response, person));
  };
}

/** Asks for name and password, or shows the signed-in user. */
export function signInPage(sessions: Sessions): RequestHandler {
  return async (request, response) => {
    const target = pageToContinue(field(request.query, 'continue'));
    const session = await sessions.of(request);
    if (session === undefined) {
      askForPassword(response, { target });
    } else if (target === undefined) {
      showUser(response, session);
    } else {
      response.redirect(target);
    }
  };
}

/** Takes the form, and redirects to the page that asked for the sign-in. */
export function signInByForm(signIn: SignIn): RequestHandler {
  return async (request, response) => {
    const name = field(request.body, 'name') ?? '';
    const password = field(request.body, 'password') ?? '';
    const target = pageToContinue(field(request.body, 'continue'));
    const isPossible = NAME.test(name) && password !== '' && password.length <= LONGEST_PASSWORD;
    try {
      if (isPossible && (await signIn(request, response, { name, password }))) {
        response.redirect(303, target ?? '/login');
        return;
      }
    } catch (error) {
      if (!(error instanceof TooManySignInsError)) {
        throw error;
      }
      response.set('Retry-After', '5');
      askForPassword(response, { target, status: 429, name, message: `${error.message}.` });
      return;
    }
    const message = 'There is no user with this name and password.';
    askForPassword(response, { target, status: 401, name, message });
  };
}

/** The page that asked for the sign-in: only that for a new client, or the exposure page. */
function pageToContinue(given: string | undefined): string | undefined {
  const own = [`/login${NEW_CLIENT_PATH}?`, `/login${EXPOSURE_PATH}?`];
  const isOwn = own.some((start) => given?.startsWith(start)) || given === `/login${EXPOSURE_PATH}`;
  return isOwn ? given : undefined;
}

interface Asking {
  readonly target: string | undefined;
  readonly status?: number;
  readonly name?: string;
  readonly message?: string;
}

function askForPassword(response: Response, asking: Asking): void {
  const { target, status = 200, name = '', message } = asking;
  sendPage(response, {
    status,
    title: 'Sign in to Taskcluster',
    content: html`${problem(message)}
<form method="post" action="/login">
${target === undefined ? '' : html`<input type="hidden" name="continue" value="${target}">`}
<label for="name">Name</label>
<input id="name" name="name" value="${name}" autocomplete="username" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Sign in</button>
</form>`,
  });
}

function showUser(response: Response, session: OpenSession): void {
  const user = userOf(session);
  sendPage(response, {
    title: 'You are signed in',
    content: html`<p>You are <code>${user.identity}</code>, with these scopes and what roles add to
them:</p>
<ul>
${user.scopes().map((scope) => html`<li><code>${scope}</code></li>`)}
</ul>
<p><a href="/exposure">What is open, to whom, and why</a></p>
<form method="post" action="/login/logout">
<button type="submit">Sign out</button>
</form>`,
  });
}
