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

  /** A URL in the parts that are signed, so that none of it is normalised. */
  interface SignedUrl {
    protocol: 'http:';
    hostname: string;
    port: number;
    /** Path and query. */
    pathname: string;
  }

  interface SignOptions {
    credentials: HawkCredentials & { id: string };
    ext?: string;
    /** Seconds since 1970. */
    timestamp?: number;
    payload?: string;
    contentType?: string;
  }

  const hawk: {
    client: {
      header(url: SignedUrl, method: string, options: SignOptions): { header: string };
      getBewit(
        url: SignedUrl,
        options: Pick<SignOptions, 'credentials' | 'ext'> & { ttlSec: number },
      ): string;
    };
    server: {
      authenticate(
        request: RequestToVerify,
        lookup: Lookup,
        options?: VerifyOptions,
      ): Promise<{ credentials: HawkCredentials; artifacts: HeaderAttributes }>;
    };
    uri: {
      authenticate(
        request: RequestToVerify,
        lookup: Lookup,
        options?: VerifyOptions,
      ): Promise<{ credentials: HawkCredentials; attributes: BewitAttributes }>;
    };
    utils: {
      parseAuthorizationHeader(header: string | undefined): HeaderAttributes;
    };
  };
  export default hawk;
}
