// Types of the parts of npm `hawk` that the tests call; the package brings none.
declare module 'hawk' {
  interface RequestToVerify {
    method: string;
    url: string;
    host: string;
    port: number;
    authorization?: string;
  }

  interface HawkCredentials {
    key: string;
    algorithm: 'sha256';
  }

  export interface ClientCredentials extends HawkCredentials {
    id: string;
  }

  /** What hawk takes of a URL that is already parsed. */
  export interface ParsedUrl {
    pathname: string;
    search: string;
    hostname: string;
    port: number;
    protocol: string;
  }

  interface HeaderOptions {
    credentials: ClientCredentials;
    timestamp: number;
    nonce: string;
    ext?: string;
    payload?: string;
    contentType?: string;
    app?: string;
    dlg?: string;
  }

  interface BewitOptions {
    credentials: ClientCredentials;
    ttlSec: number;
    ext?: string;
  }

  interface Artifacts {
    ts: string;
    nonce: string;
    method: string;
    resource: string;
    host: string;
    port: number;
    hash?: string;
    ext?: string;
    app?: string;
    dlg?: string;
  }

  /** A refusal. */
  export interface Boom extends Error {
    output: { statusCode: number; headers: Record<string, string> };
  }

  interface HeaderAttributes {
    id: string;
    ts: string;
    nonce: string;
    mac: string;
    ext?: string;
    hash?: string;
  }

  interface BewitAttributes {
    id: string;
    exp: string;
    mac: string;
    ext: string;
  }

  interface VerifyOptions {
    timestampSkewSec?: number;
    localtimeOffsetMsec?: number;
  }

  type Lookup = (id: string) => Promise<HawkCredentials | null>;

  const hawk: {
    client: {
      header(url: ParsedUrl, method: string, options: HeaderOptions): { header: string };
    };
    crypto: {
      calculateMac(type: 'header', credentials: HawkCredentials, artifacts: Artifacts): string;
    };
    server: {
      authenticate(
        request: RequestToVerify,
        lookup: Lookup,
        options?: VerifyOptions,
      ): Promise<{ credentials: HawkCredentials; artifacts: HeaderAttributes }>;
    };
    uri: {
      getBewit(url: ParsedUrl, options: BewitOptions): string;
      authenticate(
        request: RequestToVerify,
        lookup: Lookup,
        options?: VerifyOptions,
      ): Promise<{ credentials: HawkCredentials; attributes: BewitAttributes }>;
    };
    utils: {
      /** Replaces the clock of the whole process. */
      setTimeFunction(now: () => number): void;
      parseAuthorizationHeader(header: string | undefined): HeaderAttributes;
    };
  };
  export default hawk;
}
