/** A request of a recording, and what Taskcluster's own service has answered. */
export interface Step {
  readonly title: string;
  readonly method: string;
  /** Behind `/api`. */
  readonly path: string;
  readonly body?: unknown;
  /** Absent for all, `null` for no credentials. */
  readonly scopes?: readonly string[] | null;
  readonly status: number;
  /** Of an error. */
  readonly code?: string;
  readonly answer?: unknown;
}

export type Answer = Pick<Step, 'status' | 'code' | 'answer'>;

export function play(
  steps: readonly Step[],
  rootUrl: string,
  credentials: { readonly clientId: string; readonly accessToken: string },
): Promise<Answer[]>;
