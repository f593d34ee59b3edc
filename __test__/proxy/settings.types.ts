// No test to run: `tsc` compares the table of settings with the options of `startProxy`.
import type { ProxyOptions } from 'taskcluster-proxy';
import type { ApiKey } from '../../ts/settings.js';

/** Every row of the API is an option. */
export const rows: Exclude<ApiKey, keyof ProxyOptions>[] = [] satisfies never[];

/** And every option a row. */
export const options: Exclude<keyof ProxyOptions, ApiKey>[] = [] satisfies never[];
