/**
 * Artifacts of a run: its worker creates them, and clients list them and follow a redirect to a URL that
 * expires. Their bytes never pass through the queue.
 */
import { isDeepStrictEqual } from 'node:util';
import type { FromSchema } from 'json-schema-to-ts';
import { ApiError } from '../api/errors.js';
import { instant } from '../api/instant.js';
import type { ObjectPlaces } from '../storage/object-places.js';
import type { Artifact, ArtifactContent, Run, Store, Task } from '../storage/store.js';
import type { postArtifactRequest } from './schemas.js';
import { MAX_RUNS, taskStatus } from './task.js';

/** The body of `createArtifact`. */
export type PostArtifactRequest = FromSchema<typeof postArtifactRequest>;

/** The key of an artifact. */
export interface ArtifactName {
  readonly taskId: string;
  readonly runId: number;
  readonly name: string;
}

/** Time after an exception in which the worker may still upload artifacts, in milliseconds. */
const UPLOAD_AFTER_EXCEPTION = 25 * 60 * 1000;
const CLOCK_SKEW = 15 * 60 * 1000;

/** @throws ApiError `InputError`, `RequestConflict` unless the run may have such an artifact now. */
export function checkArtifact(
  task: Task | undefined,
  { runId }: ArtifactName,
  expires: Date,
): void {
  if (expires.getTime() < Date.now() - CLOCK_SKEW) {
    throw new ApiError('InputError', 'Expires must be in the future');
  }
  if (task === undefined) {
    throw new ApiError('InputError', 'Task not found');
  }
  const run = task.runs[runId];
  if (run === undefined) {
    throw new ApiError('InputError', 'Run not found');
  }
  if (run.workerId === undefined) {
    throw new ApiError(
      'InputError',
      'Run was not claimed by a worker and so no artifacts can exist',
    );
  }
  if (expires.getTime() > Date.parse(task.definition.expires)) {
    throw new ApiError(
      'InputError',
      `Artifact expires (${expires.toJSON()}) after the task expiration ` +
        `${task.definition.expires} (task.expires < expires) - this is not allowed, ` +
        'artifacts may not expire after the task they belong to expires',
    );
  }
  if (!acceptsArtifacts(run)) {
    throw new ApiError(
      'RequestConflict',
      "Artifacts cannot be created for a task after it is resolved, unless it is resolved 'exception', " +
        'and even in this case only up to 25 min past resolution.\n\nTask status: {{status}}',
      { status: taskStatus(task) },
    );
  }
}

function acceptsArtifacts({ state, resolved = '' }: Run): boolean {
  return (
    state === 'running' ||
    (state === 'exception' && Date.parse(resolved) > Date.now() - UPLOAD_AFTER_EXCEPTION)
  );
}

/** Adds an artifact, or returns the one that an earlier copy of the request added. */
export function createArtifact(
  store: Store,
  objects: ObjectPlaces,
  key: ArtifactName,
  request: PostArtifactRequest,
): Promise<Artifact> {
  const contentLength = 'contentLength' in request ? request.contentLength : undefined;
  const contentType = ('contentType' in request && request.contentType) || 'application/binary';
  if (!/^[\x20-\x7e]*$/.test(contentType)) {
    throw new ApiError('InputError', 'A contentType is printable ASCII');
  }
  if (contentLength !== undefined && !Number.isSafeInteger(contentLength)) {
    throw new ApiError('InputError', 'A contentLength is less than 2^53');
  }
  const wanted: Artifact = {
    ...key,
    contentType,
    ...(typeof contentLength === 'number' ? { contentLength } : {}),
    expires: instant(request.expires),
    content: contentOf(key, request, objects),
  };
  return store.artifacts.change(key.taskId, key.runId, key.name, (present) => {
    if (present === undefined) {
      return wanted;
    }
    if (!mayReplace(present, wanted)) {
      throw new ApiError(
        'RequestConflict',
        'Artifact already exists with different properties, and none of the allowed exceptions ' +
          'apply: {{originalArtifact}}',
        { originalArtifact: serializeArtifact(present) },
      );
    }
    // The object stays in its place.
    const content = present.content.storageType === 's3' ? present.content : wanted.content;
    return { ...present, content, expires: wanted.expires };
  });
}

function contentOf(
  { taskId, runId, name }: ArtifactName,
  request: PostArtifactRequest,
  objects: ObjectPlaces,
): ArtifactContent {
  switch (request.storageType) {
    case 's3': {
      const content = objects.place(`${taskId}/${runId}/${name}`);
      if (content === undefined) {
        throw new ApiError('InputError', 'The name is longer than the object store takes');
      }
      return content;
    }
    case 'object':
      throw new ApiError(
        'InputError',
        "This deployment has no object service: create the artifact with the storageType 's3'",
      );
    case 'reference':
      return { storageType: 'reference', url: request.url };
    case 'link':
      return { storageType: 'link', artifact: request.artifact };
    case 'error':
      return { storageType: 'error', reason: request.reason, message: request.message };
  }
}

/** Artifacts do not change, except that a reference may, even into a link, and any may live longer. */
function mayReplace(present: Artifact, wanted: Artifact): boolean {
  const [was, is] = [present.content, wanted.content];
  if (present.expires.getTime() > wanted.expires.getTime()) {
    return false;
  }
  if (is.storageType !== 'link' && present.contentType !== wanted.contentType) {
    return false;
  }
  return was.storageType === 'reference'
    ? is.storageType === 'reference' || is.storageType === 'link'
    : was.storageType === 's3'
      ? is.storageType === 's3'
      : isDeepStrictEqual(was, is);
}

/** The record of an artifact. A route may name a higher run number than any task can have. */
export async function findArtifact(
  store: Store,
  { taskId, runId, name }: ArtifactName,
): Promise<Artifact | undefined> {
  return runId < MAX_RUNS ? store.artifacts.get(taskId, runId, name) : undefined;
}

/**
 * The content of the artifact of this name, or of the artifact at the end of its links. It calls
 * `authorize` before each look-up, with all the names so far.
 *
 * @throws ApiError `ResourceNotFound`, `ResourceExpired`, `InputError`
 */
export async function followLinks(
  store: Store,
  { taskId, runId, name }: ArtifactName,
  authorize: (names: readonly string[]) => Promise<void>,
): Promise<Exclude<ArtifactContent, { storageType: 'link' }>> {
  const names: string[] = [];
  for (let next = name; ; ) {
    if (names.includes(next)) {
      throw new ApiError('InputError', 'Artifact leads to a link cycle');
    }
    names.push(next);
    await authorize(names);
    const artifact = await findArtifact(store, { taskId, runId, name: next });
    if (artifact === undefined) {
      throw new ApiError('ResourceNotFound', 'Artifact not found');
    }
    if (artifact.expires.getTime() < Date.now()) {
      throw new ApiError('ResourceExpired', 'Artifact expired');
    }
    if (artifact.content.storageType !== 'link') {
      return artifact.content;
    }
    next = artifact.content.artifact;
  }
}

/** An artifact as the queue's answers describe it. */
export function serializeArtifact(artifact: Artifact): object {
  return {
    storageType: artifact.content.storageType,
    name: artifact.name,
    expires: artifact.expires.toJSON(),
    contentType: artifact.contentType,
    contentLength: artifact.contentLength,
  };
}
