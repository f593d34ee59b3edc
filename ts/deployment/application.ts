/**
 * The application of a deployment before its services and behind them: headers of every answer, the routes
 * that belong to no service, and the answer to a request that matches none.
 */
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import { native } from 'taskcluster-proxy/internal';
import { asApiError, type FaultListener, sendError } from './api/router.js';
import { observe, type RequestListener } from './operation/requests.js';
import type { Stopping } from './operation/stop.js';
import type { PublicUrl } from './public-url.js';
import type { ListenProof } from './storage/listen-proof.js';
import { LOGIN_PATH } from './web/index.js';

/** As in Taskcluster's services: a page that a browser makes of an API answer runs no script. */
const NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";

/** For deployments behind a TLS terminator: 90 days, as in Taskcluster's services. */
const STRICT_TRANSPORT = 'max-age=7776000; includeSubDomains';

interface ApplicationOptions {
  readonly listening: ListenProof;
  readonly publicUrl: PublicUrl;
  readonly stopping: Stopping;
  readonly record: RequestListener;
}

/** The application; the services are then mounted on it. */
export function application({
  listening,
  publicUrl,
  stopping,
  record,
}: ApplicationOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('json spaces', 2);
  // The address of a user who signs in, from the nearest forwarder.
  app.set('trust proxy', publicUrl.isForwarderTrusted ? 1 : false);
  app.use(observe(record));
  app.use((request, response, next) => {
    stopping.serve(response);
    if (publicUrl.of(request).startsWith('https:')) {
      response.set('strict-transport-security', STRICT_TRANSPORT);
    }
    response.set({
      'content-security-policy': NOTHING_RUNS,
      'x-content-type-options': 'nosniff',
    });
    next();
  });
  app.get('/__version__', (_request, response) => {
    response.json({ version: native.version(), commit: native.revision() });
  });
  app.get('/__heartbeat__', (_request, response) => {
    response.status(stopping.hasBegun ? 503 : 200);
    response.json({ listen: listening.isHeard ? 'heard' : 'unheard' });
  });
  app.get('/__lbheartbeat__', (_request, response) => {
    response.status(stopping.hasBegun ? 503 : 200).json({});
  });
  app.get('/robots.txt', (_request, response) => {
    response.type('text/plain').send('User-Agent: *\nDisallow: /\n');
  });
  return app;
}

/** Redirects to a page under `/login`, the path of the session's cookie. */
export function toPage(path: string): RequestHandler {
  return (request, response) => {
    const query = request.originalUrl.replace(/^[^?]*/, '');
    response.redirect(`${LOGIN_PATH}${path}${query}`);
  };
}

/** Answers a request that matches no route, or has an unreadable path. */
export function finish(app: Express, onFault: FaultListener): void {
  app.use((_request, response) => {
    response.status(404).json({ error: 'Not found' });
  });
  const answerError: ErrorRequestHandler = (error: unknown, _request, response, _next) => {
    const info = { method: 'unknown', params: {}, payload: {} };
    sendError(response, asApiError(error, onFault, response), info);
  };
  app.use(answerError);
}
