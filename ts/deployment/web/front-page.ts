/** The page at `/`, with links to the sign-in, the exposure and the references. It reads no session. */
import type { RequestHandler } from 'express';
import type { Declarations } from '../api/reference.js';
import { html, sendPage } from './pages.js';

export function frontPage(services: readonly Declarations[]): RequestHandler {
  const references = services.map(({ serviceName, apiVersion, title, description }) => {
    const folder = `/references/${serviceName}/${apiVersion}`;
    return html`<li><a href="${folder}/api.json">${title}</a>: ${description}
(<a href="${folder}/openapi.json">OpenAPI<span class="unseen"> of ${title}</span></a>)</li>`;
  });
  return (_request, response) => {
    sendPage(response, {
      title: 'A Taskcluster deployment',
      content: html`<p>It is a small one, for programs above all: they sign what they ask for.</p>
<ul>
<li><a href="/exposure">What is open, to whom, and why</a></li>
<li><a href="/login">Sign in</a></li>
</ul>
<h2>References</h2>
<p>What its services take and answer, for those who write clients
(<a href="/references/manifest.json">all of them</a>).</p>
<ul>
${references}
</ul>`,
    });
  };
}
