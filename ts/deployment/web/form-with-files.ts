/**
 * Reads forms that carry files, as browsers send them (`multipart/form-data`): a file becomes a field with its text,
 * which is empty if none was chosen. Node's own reader is enough for what fits into the limit and lies in memory at
 * once; it asks for a boundary that occurs nowhere else, as those of browsers are. What this is not: a store of uploads.
 */
import express, { type RequestHandler } from 'express';
import { ApiError } from '../api/errors.js';

const TYPE = 'multipart/form-data';

/** @param limit - In bytes, as the body comes. */
export function formWithFiles(limit: number): RequestHandler[] {
  return [express.raw({ type: TYPE, limit }), readFields];
}

const readFields: RequestHandler = async (request, _response, next) => {
  if (request.is(TYPE)) {
    request.body = await fieldsOf(request.body, request.headers['content-type'] ?? '');
  }
  next();
};

/** A name that comes several times has a list, as with `express.urlencoded`. */
async function fieldsOf(body: unknown, type: string): Promise<Record<string, string | string[]>> {
  const values = new Map<string, string[]>();
  for (const [name, value] of await read(body, type)) {
    const text = typeof value === 'string' ? value : await value.text();
    values.set(name, [...(values.get(name) ?? []), text]);
  }
  const fields = [...values].map(([name, all]) => [name, all.length === 1 ? all[0] : all]);
  return Object.fromEntries(fields);
}

async function read(body: unknown, type: string): Promise<FormData> {
  const bytes = Buffer.isBuffer(body) ? body : Buffer.alloc(0);
  try {
    return await new Response(bytes, { headers: { 'Content-Type': type } }).formData();
  } catch {
    throw new ApiError(
      'InvalidRequestArguments',
      'The form cannot be read: send it from the page, or as multipart/form-data with a boundary',
    );
  }
}
