/**
 * Sends the requests of a recording one after the other, and tells of each answer what does not change from run to run.
 * `tools/taskcluster-suites.mjs` plays them to Taskcluster's own services, and writes down their answers;
 * `reference-answers.test.ts` plays them to the deployment.
 */
import hawk from 'hawk';

const UNITS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Plays `steps`; `credentials` may do everything, and a step with `scopes` has only these. */
export async function play(steps, rootUrl, credentials) {
  const answers = [];
  for (const step of steps) {
    answers.push(await answerTo(step, rootUrl, credentials));
  }
  return answers;
}

async function answerTo({ method, path, body, scopes }, rootUrl, credentials) {
  const url = `${rootUrl}/api${path}`;
  const response = await fetch(url, {
    method,
    headers: {
      ...(scopes === null ? {} : { authorization: signed(url, method, credentials, scopes) }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(timed(body)) }),
  });
  const text = await response.text();
  const json = text === '' ? {} : JSON.parse(text);
  const { status } = response;
  return response.ok ? { status, answer: settled(json) } : { status, code: json.code };
}

function signed(url, method, { clientId, accessToken }, scopes) {
  const credentials = { id: clientId, key: accessToken, algorithm: 'sha256' };
  const ext =
    scopes && Buffer.from(JSON.stringify({ authorizedScopes: scopes })).toString('base64');
  return hawk.client.header(url, method, { credentials, ...(ext && { ext }) }).header;
}

/** `in 2 hours` and `2 hours ago` stand for times. */
function timed(value) {
  return mapped(value, (text) => {
    const [, count, unit] = /^in (\d+) (minute|hour|day)s?$/.exec(text) ?? [];
    return unit === undefined ? text : new Date(Date.now() + Number(count) * UNITS[unit]).toJSON();
  });
}

/** Without what is another in every run. */
function settled(value) {
  return mapped(value, (text, key) => {
    if (/^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$/.test(text)) {
      return '<time>';
    }
    return CHANGING.includes(key) ? `<${key}>` : text.replace(/\/until\/[\d.]+$/, '/until/<time>');
  });
}

const CHANGING = ['continuationToken', 'accessToken', 'certificate'];

function mapped(value, change, key = '') {
  if (Array.isArray(value)) {
    return value.map((each) => mapped(each, change, key));
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, each]) => [name, mapped(each, change, name)]),
    );
  }
  return typeof value === 'string' ? change(value, key) : value;
}
