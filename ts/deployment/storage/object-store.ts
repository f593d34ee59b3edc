/**
 * The store to which workers upload artifacts and from which clients download them, as S3 for a deployment
 * in the cloud: the holder of a signed URL may make the one request for which the deployment signed it,
 * until it expires. Ranges and conditional requests work as for any static file.
 *
 * Its path is under `/api/`, so that the proxy reaches it like any service. It also accepts and checks the
 * Hawk signature that the proxy adds, which a cloud's bucket refuses.
 *
 * It is no service of the API: it declares no endpoint and knows no scopes.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import express, {
  type ErrorRequestHandler,
  type Request,
  type Response,
  type Router,
} from 'express';
import { authenticate, type SignatureValidator, unauthenticated } from '../api/authenticate.js';
import { ApiError } from '../api/errors.js';
import { asApiError, type FaultListener, sendError } from '../api/router.js';
import type { ObjectFolder } from './object-folder.js';
import type { Store } from './store.js';

/** Bytes of one read of a file; the default of 64 KiB takes half as much CPU time again. */
const READ_BUFFER = 256 * 1024;

/** The path that every object's URL begins with. */
export const OBJECTS_PATH = '/api/objects/v1';

/**
 * An artifact may be a page by the author of a task. The browser gives it a separate origin, so that it
 * cannot use the viewer's session (CSP3, 6.2.2 `sandbox`).
 */
const FOREIGN_PAGE = 'sandbox allow-scripts allow-popups allow-downloads';

export interface ObjectStoreOptions {
  readonly store: Store;
  readonly folder: ObjectFolder;
  /** The key that signs URLs. All processes that share a folder have the same one. */
  readonly signingKey: Uint8Array;
  readonly validator: SignatureValidator;
  readonly onFault: FaultListener;
}

export class ObjectStore {
  readonly #options: ObjectStoreOptions;

  constructor(options: ObjectStoreOptions) {
    this.#options = options;
  }

  /** The request target of an upload of this type, good for `lifetime` seconds. */
  putTarget(name: string, contentType: string, lifetime: number): string {
    return this.#signed('PUT', name, contentType, lifetime);
  }

  /** The request target of a download, good for `lifetime` seconds. */
  getTarget(name: string, lifetime: number): string {
    return this.#signed('GET', name, '', lifetime);
  }

  /** To be mounted at `OBJECTS_PATH`. */
  router(): Router {
    const router = express.Router({ caseSensitive: true });
    router.use((_request, response, next) => {
      response.set({
        'Access-Control-Allow-Origin': '*',
        'Content-Security-Policy': FOREIGN_PAGE,
      });
      next();
    });
    router.put('/:name', (request, response) => this.#put(request, response));
    router.get('/:name', (request, response) => this.#get(request, response));
    router.use(this.#answerError);
    return router;
  }

  async #put(request: Request<{ name: string }>, response: Response): Promise<void> {
    const { store, folder } = this.#options;
    const { name } = request.params;
    const contentType = request.headers['content-type'] ?? '';
    await this.#check(request, 'PUT', contentType);
    if (request.headers['content-length'] === undefined) {
      throw new ApiError('InputError', 'An upload must say its Content-Length');
    }
    const encoding = request.headers['content-encoding'];
    const { file, size } = await folder.add(request);
    const replaced = await store.objects.put({
      name,
      file,
      size,
      contentType,
      ...(encoding === undefined ? {} : { contentEncoding: encoding }),
    });
    if (replaced !== undefined) {
      await folder.remove(replaced.file);
    }
    response.set('ETag', entityTag(file)).status(200).end();
  }

  async #get(request: Request<{ name: string }>, response: Response): Promise<void> {
    const { store, folder } = this.#options;
    await this.#check(request, 'GET', '');
    const object = await store.objects.get(request.params.name);
    if (object === undefined) {
      throw new ApiError('ResourceNotFound', 'Nothing has been uploaded under this name');
    }
    // Not by Express's own `set`, which would add a charset.
    response.setHeader('Content-Type', object.contentType);
    response.setHeader('ETag', entityTag(object.file));
    if (object.contentEncoding !== undefined) {
      response.setHeader('Content-Encoding', object.contentEncoding);
    }
    await sendFile(response, folder.root, object.file);
  }

  async #check(request: Request, method: string, contentType: string): Promise<void> {
    const [path = '', query] = request.originalUrl.split('?', 2);
    const { expires, signature } = request.query;
    const expected = this.#signature(method, path, contentType, String(expires));
    if (query === undefined || typeof signature !== 'string' || !equal(signature, expected)) {
      throw new ApiError(
        'InsufficientScopes',
        'This URL was not signed for this request: use the URL that the queue gave, as it is, ' +
          'with the method and Content-Type that it was asked for',
      );
    }
    if (Number(expires) * 1000 < Date.now()) {
      throw new ApiError('InsufficientScopes', 'This URL has expired: ask the queue for a new one');
    }
    if (request.headers.authorization !== undefined) {
      await this.#checkHawk(request);
    }
  }

  async #checkHawk(request: Request): Promise<void> {
    const received = { incoming: request, target: request.originalUrl, text: '' };
    const found = await authenticate(received, this.#options.validator);
    if (found.status === 'auth-failed') {
      throw unauthenticated(found);
    }
  }

  #signed(method: string, name: string, contentType: string, lifetime: number): string {
    const path = `${OBJECTS_PATH}/${encodeURIComponent(name)}`;
    const expires = String(Math.floor(Date.now() / 1000) + lifetime);
    const signature = this.#signature(method, path, contentType, expires);
    return `${path}?expires=${expires}&signature=${signature}`;
  }

  #signature(method: string, path: string, contentType: string, expires: string): string {
    const signed = [method, path, contentType, expires].join('\n');
    return createHmac('sha256', this.#options.signingKey).update(signed).digest('base64url');
  }

  #answerError: ErrorRequestHandler = (error: unknown, request, response, _next) => {
    if (request.destroyed && !request.complete) {
      response.destroy();
      return;
    }
    const info = { method: 'object', params: {}, payload: {} };
    sendError(response, asApiError(error, this.#options.onFault, response), { ...info });
  };
}

/** Strong: a file is never written twice. */
function entityTag(file: string): string {
  return `"${file}"`;
}

/** The error with which sending a file may end. */
interface SendError extends Error {
  readonly status?: number;
  readonly headers?: Record<string, string>;
}

function sendFile(response: Response, root: string, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Express hands what it does not know on to the stream that reads the file.
    const options = { root, cacheControl: false, lastModified: false, highWaterMark: READ_BUFFER };
    response.sendFile(file, options, (error: SendError | undefined) => {
      if (error === undefined) {
        resolve();
      } else if (response.headersSent) {
        // The client or the disk has failed: the answer must not look complete.
        response.destroy();
        resolve();
      } else if (error.status === 412 || error.status === 416) {
        response
          .status(error.status)
          .set(error.headers ?? {})
          .end();
        resolve();
      } else {
        // The client must not see the error of the disk, which contains a path.
        reject(new Error(`the file ${file} cannot be sent`, { cause: error }));
      }
    });
  });
}

function equal(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}
