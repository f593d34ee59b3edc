/**
 * Plays the requests of a recording to one of Taskcluster's own services, and writes its answers down. Mocha runs it in
 * the service's folder, with the helper of the service's own tests.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';

const { RECORDING, RECORD_PLAY, RECORD_SERVICE } = process.env;
const { default: helper } = await import(pathToFileURL(`${process.cwd()}/test/helper.js`).href);
const { play } = await import(RECORD_PLAY);

const isAuth = RECORD_SERVICE === 'auth';

helper.secrets.mockSuite('a recording', isAuth ? ['gcp'] : ['aws'], (mock, skipping) => {
  if (isAuth) {
    helper.withCfg(mock, skipping);
    helper.withDb(mock, skipping);
    helper.withPulse(skipping);
    helper.withServers(skipping);
  } else {
    helper.withDb(mock, skipping);
    helper.withAmazonIPRanges(skipping);
    helper.withPulse(skipping);
    helper.withS3(mock, skipping);
    helper.withServer(skipping);
  }

  test('each answer', async () => {
    const steps = JSON.parse(await readFile(RECORDING, 'utf8'));
    const credentials = isAuth
      ? { clientId: 'static/taskcluster/root', accessToken: helper.rootAccessToken }
      : { clientId: 'test-client', accessToken: 'none' };
    const answers = await play(steps, helper.rootUrl, credentials);
    const recorded = steps.map(({ status, code, answer, ...step }, at) => ({
      ...step,
      ...answers[at],
    }));
    await writeFile(RECORDING, `${JSON.stringify(recorded, null, 2)}\n`);
  });
});
