/**
 * The URL under which clients reach a deployment, for every URL that it hands out: the configured one, or
 * the one that a trusted forwarder names in a request, or the address at which the request arrived. Never
 * the claim of an untrusted client, and never an address such as 0.0.0.0, which clients cannot reach.
 */
import type { IncomingMessage, Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';

export interface PublicUrlOptions {
  /** `https://tc.example.com`: the start of every URL that is handed out. */
  readonly rootUrl?: string | undefined;
  /**
   * Whether `X-Forwarded-Proto`, `-Host`, `-Port` and `-For` are trusted. When absent, they are trusted if
   * the deployment listens on loopback only.
   */
  readonly trustForwarded?: boolean | undefined;
}

/** An invalid root URL. The message says what to write. */
export class PublicUrlError extends Error {
  override readonly name = 'PublicUrlError';
}

/** @throws PublicUrlError */
export function checkRootUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isOrigin = url !== undefined && `${url.origin}/` === url.href;
  if (!isOrigin || !['http:', 'https:'].includes(url.protocol)) {
    throw new PublicUrlError(
      `'${text}' is not a root URL: write it as https://tc.example.com, with a port if there is one`,
    );
  }
  return url.origin;
}

export class PublicUrl {
  /** The URL at which the deployment reaches its own listener. */
  readonly own: string;
  readonly #given: string | undefined;
  readonly isForwarderTrusted: boolean;
  readonly #isAnyAddress: boolean;

  constructor(server: Server, { rootUrl, trustForwarded }: PublicUrlOptions) {
    const { address, port } = server.address() as AddressInfo;
    this.#given = rootUrl === undefined ? undefined : checkRootUrl(rootUrl);
    this.#isAnyAddress = ['0.0.0.0', '::'].includes(address);
    const reached = this.#isAnyAddress ? LOOPBACK[address as keyof typeof LOOPBACK] : address;
    this.own = origin('http', reached, port);
    this.isForwarderTrusted = trustForwarded ?? isLoopback(address);
  }

  /** The URL that is printed for the operator. */
  get announced(): string {
    return this.#given ?? this.own;
  }

  /** The URL that the sender of this request can reach. */
  of(request: IncomingMessage): string {
    const said = this.isForwarderTrusted ? forwarded(request) : undefined;
    return this.#given ?? said ?? this.#reached(request);
  }

  #reached({ socket: { localAddress, localPort } }: IncomingMessage): string {
    return this.#isAnyAddress && localAddress !== undefined && localPort !== undefined
      ? origin('http', localAddress.replace(/^::ffff:(?=\d+\.)/, ''), localPort)
      : this.own;
  }
}

const LOOPBACK = { '0.0.0.0': '127.0.0.1', '::': '::1' } as const;

function isLoopback(address: string): boolean {
  return address === '::1' || /^(?:::ffff:)?127\./.test(address);
}

function origin(scheme: string, address: string, port: number): string {
  return `${scheme}://${isIPv6(address) ? `[${address}]` : address}:${port}`;
}

/** The URL of a forwarder's headers. Missing parts come from the request; the first of several counts. */
function forwarded({ headers }: IncomingMessage): string | undefined {
  const [scheme, host, port] = ['proto', 'host', 'port'].map((name) =>
    String(headers[`x-forwarded-${name}`] ?? '')
      .split(',', 1)[0]
      ?.trim(),
  );
  if (!scheme && !host && !port) {
    return undefined;
  }
  const text = `${scheme || 'http'}://${host || headers.host}`;
  if (!/^https?:\/\/[\w.:[\]-]+$/.test(text) || !URL.canParse(text)) {
    return undefined;
  }
  const url = new URL(text);
  if (port && /^\d{1,5}$/.test(port) && url.port === '') {
    url.port = port;
  }
  return url.origin;
}
