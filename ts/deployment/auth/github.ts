/** Tokens for repositories on GitHub. The deployment has no GitHub app, so every request is refused. */
import type { ApiBuilder } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import type { AuthContext } from './context.js';
import { githubRepoTokenRequest, githubTokenResponse } from './schemas.js';

export function declareGithubEndpoints(auth: ApiBuilder<AuthContext>): void {
  auth.declare(
    {
      name: 'githubRepoToken',
      method: 'post',
      route: '/github/:appName/:owner/repo-token',
      params: { appName: /^[a-zA-Z0-9_-]+$/, owner: /^[A-Za-z0-9._-]+$/ },
      title: 'Get a repository scoped github token',
      description: 'This deployment has no app configured: every authorised caller gets 404.',
      category: 'Github Credentials',
      stability: 'experimental',
      scopes: {
        AllOf: [
          {
            for: 'repoPerm',
            in: 'repoPerms',
            each: 'auth:github-repo-token:<appName>/<owner>/<repoPerm>',
          },
        ],
      },
      input: githubRepoTokenRequest,
      output: githubTokenResponse,
    },
    async ({ params: { appName, owner }, body: { repositories, permissions }, authorize }) => {
      const repoPerms = Object.entries(permissions).flatMap(([permission, level]) =>
        repositories.map((repository) => `${repository.toLowerCase()}:${permission}:${level}`),
      );
      await authorize({ appName, owner: owner.toLowerCase(), repoPerms });
      throw new ApiError(
        'ResourceNotFound',
        `Application with name \`${appName}\` is not configured`,
      );
    },
  );
}
