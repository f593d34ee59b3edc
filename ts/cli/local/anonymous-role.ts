/**
 * `taskcluster-local anonymous-role`: what a public deployment grants to everybody, by the
 * declarations of its endpoints. It needs no deployment.
 */
import type { Command } from 'commander';
import { publicScopes } from '../../deployment/exposure.js';
import { services } from '../../deployment/services.js';

export function declareAnonymousRole(program: Command): void {
  program
    .command('anonymous-role')
    .description(
      'Print the scopes that the role anonymous has in a public deployment, where everybody may ' +
        'read what is not secret. A private one grants none of them.',
    )
    .option('--json', 'print the role as createRole and updateRole take it', false)
    .action(({ json }: { readonly json: boolean }) => {
      const scopes = publicScopes(services());
      const role = { description: 'What everybody may do, with credentials or without.', scopes };
      console.log(json ? JSON.stringify(role, null, 2) : scopes.join('\n'));
    });
}
