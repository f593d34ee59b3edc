/**
 * `taskcluster-local anonymous-role`: the scopes that a public deployment grants to every caller, from
 * the declarations of its endpoints. It needs no deployment.
 */
import type { Command } from 'commander';
import { publicScopes } from '../../deployment/exposure.js';
import { services } from '../../deployment/services.js';

export function declareAnonymousRole(program: Command): void {
  program
    .command('anonymous-role')
    .description(
      'Print the scopes that the role anonymous has in a public deployment, where every caller may ' +
        'read what is not secret. A private deployment grants none of them.',
    )
    .option('--json', 'print the role as createRole and updateRole take it', false)
    .action(({ json }: { readonly json: boolean }) => {
      const scopes = publicScopes(services());
      const role = {
        description: 'What every caller may do, with credentials or without.',
        scopes,
      };
      console.log(json ? JSON.stringify(role, null, 2) : scopes.join('\n'));
    });
}
