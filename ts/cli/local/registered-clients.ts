/** The third parties that a deployment is started with, from a file. */
import { readFile } from 'node:fs/promises';
import {
  type RegisteredClient,
  RegisteredClientError,
} from '../../deployment/web/registered-clients.js';

/** None without a file. @throws RegisteredClientError */
export async function readRegisteredClients(
  file: string | undefined,
): Promise<readonly RegisteredClient[]> {
  if (file === undefined) {
    return [];
  }
  const content = await readFile(file, 'utf8').catch((error: Error) => {
    throw new RegisteredClientError(`the registered clients cannot be read: ${error.message}`);
  });
  try {
    return JSON.parse(content) as RegisteredClient[];
  } catch (error) {
    throw new RegisteredClientError(`${file} is not JSON: ${(error as Error).message}`);
  }
}
