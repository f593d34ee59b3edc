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

  const hawk: {
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
