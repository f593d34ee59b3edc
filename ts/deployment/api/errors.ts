/**
 * Errors in the shape of Taskcluster's services: a code with its status, a message in Markdown that ends
 * with a summary of the request, and `requestInfo`. No internals (a stack, a path) reach a client.
 */

/** The codes of Taskcluster's API library, and `ServiceUnavailable` for an outage, with the status of each. */
export const STATUS_OF_CODE = {
  MalformedPayload: 400,
  InvalidRequestArguments: 400,
  InputValidationError: 400,
  InputError: 400,
  AuthenticationFailed: 401,
  InsufficientScopes: 403,
  ResourceNotFound: 404,
  RequestConflict: 409,
  ResourceExpired: 410,
  InputTooLarge: 413,
  InternalServerError: 500,
  ServiceUnavailable: 503,
} as const;

/** The code of an error, by which clients distinguish errors. */
export type ErrorCode = keyof typeof STATUS_OF_CODE;

/** A handler throws this to answer with an error. `{{key}}` in the message names a detail. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ErrorCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(fillDetails(message, details));
    this.code = code;
    this.headers = headers;
  }

  get status(): number {
    return STATUS_OF_CODE[this.code];
  }
}

/** The request, as far as it was parsed when the error arose. */
export interface RequestInfo {
  /** Name of the endpoint. */
  readonly method: string;
  readonly params: Readonly<Record<string, string>>;
  readonly payload: unknown;
}

/** The body of an error's answer. */
export interface ErrorBody {
  readonly code: ErrorCode;
  readonly message: string;
  readonly requestInfo: RequestInfo & { readonly time: string };
}

/** The body that tells the client the error and its request. */
export function errorBody(error: ApiError, request: RequestInfo): ErrorBody {
  const time = new Date().toJSON();
  const trailer = [
    '\n\n---\n',
    `* method:     ${request.method}`,
    `* errorCode:  ${error.code}`,
    `* statusCode: ${error.status}`,
    `* time:       ${time}`,
  ].join('\n');
  return {
    code: error.code,
    message: error.message + trailer,
    requestInfo: {
      method: request.method,
      params: request.params,
      payload: request.payload,
      time,
    },
  };
}

function fillDetails(message: string, details: Readonly<Record<string, unknown>>): string {
  return message.replace(/{{([a-zA-Z0-9_-]+)}}/g, (text, key: string) => {
    const value = Object.hasOwn(details, key) ? details[key] : text;
    return typeof value === 'string' ? value : (JSON.stringify(value, null, 2) ?? '');
  });
}
