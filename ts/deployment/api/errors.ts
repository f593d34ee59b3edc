/**
 * Errors in the shape of Taskcluster's services: a code with its status, a message in Markdown
 * that ends with what was asked, and `requestInfo`. Nothing of the program (no stack, no path)
 * reaches a client.
 */

/** The codes of Taskcluster's API library, with the status that each stands for. */
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
} as const;

/** Why a request was not served, as clients tell reasons apart. */
export type ErrorCode = keyof typeof STATUS_OF_CODE;

/** What a handler throws to answer with an error. `{{key}}` in the message names a detail. */
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

/** What was asked, as far as it was understood when the error arose. */
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

/** Tells clients what went wrong and with which request. */
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
