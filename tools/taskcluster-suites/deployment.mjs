/** What the tests' helper takes of the built deployment, which `SUITES_DIST` names. */
const { SUITES_DIST } = process.env;
export const { startDeployment } = await import(`${SUITES_DIST}/deployment/index.js`);
export const { openDatabase } = await import(`${SUITES_DIST}/deployment/storage/open.js`);
export const { sqlStore } = await import(`${SUITES_DIST}/deployment/storage/sql/index.js`);
export const { removeExpired } = await import(`${SUITES_DIST}/deployment/queue/housekeeping.js`);
