import type { Migration } from './migration.js';

/**
 * The grants of users to third parties on the way to a client, each for minutes. The id of a grant is
 * kept as its hash.
 */
export const THIRD_PARTIES: Migration = {
  name: '0006-third-parties',
  up: `
    CREATE TABLE third_party_grants (
      id_hash bytea PRIMARY KEY,
      kind text NOT NULL CHECK (kind IN ('question', 'code', 'token')),
      user_name text NOT NULL,
      third_party text NOT NULL,
      redirect_uri text NOT NULL,
      details json NOT NULL,
      expires timestamptz NOT NULL
    );
    COMMENT ON COLUMN third_party_grants.kind IS
      'what the user is being asked, a code for a token, or a token for a client';
    CREATE INDEX third_party_grants_of_user ON third_party_grants (user_name);
    CREATE INDEX third_party_grants_to_purge ON third_party_grants (expires);`,
};
