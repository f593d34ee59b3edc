// Types of the part of npm `taskcluster-client` that the tests call; the package brings none.
declare module 'taskcluster-client' {
  interface Credentials {
    clientId: string;
    accessToken: string;
    certificate?: string;
  }

  const taskcluster: {
    createTemporaryCredentials(options: {
      credentials: Credentials;
      clientId?: string;
      scopes: string[];
      start: Date;
      expiry: Date;
    }): Required<Credentials>;
  };
  export default taskcluster;
}
