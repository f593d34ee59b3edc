/**
 * Moves an artifact both ways as a task does: by plain HTTP, streaming, without credentials. Its bytes are
 * generated while they are sent, so that it is never in memory as a whole.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';

/** Called with the number of bytes moved since the last call. */
export type ProgressListener = (bytes: number) => void;

/** A finished transfer. */
export interface Transfer {
  readonly size: number;
  /** Hexadecimal. */
  readonly sha256: string;
  readonly status: number;
}

const CHUNK = 256 * 1024;

/** Uploads `size` random bytes. */
export async function upload(
  url: string,
  contentType: string,
  size: number,
  onProgress: ProgressListener,
): Promise<Transfer> {
  const hash = createHash('sha256');
  const request = httpRequest(url, {
    method: 'PUT',
    headers: { 'Content-Type': contentType, 'Content-Length': size },
  });
  const answered = once(request, 'response') as Promise<[IncomingMessage]>;
  const sent = pipeline(function* () {
    for (const chunk of noise(size)) {
      hash.update(chunk);
      onProgress(chunk.length);
      yield chunk;
    }
  }, request);
  const [[response]] = await Promise.all([answered, sent]);
  response.resume();
  return { size, sha256: hash.digest('hex'), status: expectStatus(response, url) };
}

/** Downloads a URL. */
export async function download(url: string, onProgress: ProgressListener): Promise<Transfer> {
  const hash = createHash('sha256');
  const request = httpRequest(url).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const status = expectStatus(response, url);
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
    onProgress(chunk.length);
  }
  return { size, sha256: hash.digest('hex'), status };
}

function expectStatus({ statusCode = 0 }: IncomingMessage, url: string): number {
  if (statusCode !== 200) {
    throw new Error(`${new URL(url).pathname} was answered with ${statusCode}`);
  }
  return statusCode;
}

/** Bytes that neither repeat nor compress: the keystream of a cipher with a random key. */
function* noise(size: number): Generator<Buffer> {
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  const zeros = Buffer.alloc(CHUNK);
  for (let left = size; left > 0; left -= CHUNK) {
    yield cipher.update(left < CHUNK ? zeros.subarray(0, left) : zeros);
  }
}
