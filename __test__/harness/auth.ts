// The published JavaScript client for the auth service of a local deployment.
import taskcluster from 'taskcluster-client';
import type { Deployment } from '../../ts/deployment/index.js';
import type { Client } from './deployment.js';

/** As the deployment's root or another client; restricted, if there are `authorizedScopes`. */
export function authOf(
  { rootUrl, credentials }: Pick<Deployment, 'rootUrl' | 'credentials'>,
  options: { credentials?: Partial<Client>; authorizedScopes?: string[] } = {},
) {
  return new taskcluster.Auth({ rootUrl, credentials, retries: 0, ...options });
}

/** Code and status of the error that a call ends with, and its sentence without the request. */
export async function errorOf(call: Promise<unknown>): Promise<[string, number, string]> {
  try {
    await call;
  } catch (error) {
    const { code, statusCode, body } = error as {
      code: string;
      statusCode: number;
      body: { message: string };
    };
    return [code, statusCode, body.message.replace(/\n\n---\n[\s\S]*/, '')];
  }
  return ['none', 200, ''];
}
