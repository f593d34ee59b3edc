/**
 * The history of clients, roles and secrets: which client has changed them, and how. Each change is
 * recorded in its own transaction.
 */
import type { ApiBuilder } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import { PAGE_QUERY, type PageRequest, page } from '../api/pages.js';
import type { AuditRecord } from '../storage/store.js';
import type { AuthContext } from './context.js';
import { getEntityHistoryResponse } from './schemas.js';

export function declareAuditEndpoints(auth: ApiBuilder<AuthContext>): void {
  auth.declare(
    {
      name: 'getEntityHistory',
      method: 'get',
      route: '/audit/:entityType/:entityId',
      query: PAGE_QUERY,
      params: { entityType: /^(client|role|secret|hook|worker-pool)$/, entityId: /^[^\0]+$/ },
      title: 'Get Entity History',
      category: 'Audit',
      scopes: 'auth:audit-history:<entityType>',
      output: getEntityHistoryResponse,
    },
    ({ params: { entityType, entityId }, query }, { store }) =>
      historyOf(query, (after, limit) => store.audit.ofEntity(entityType, entityId, after, limit)),
  );
  auth.declare(
    {
      name: 'listAuditHistory',
      method: 'get',
      route: '/clients/:clientId/audit',
      query: PAGE_QUERY,
      title: 'List Audit History',
      category: 'Audit',
      scopes: 'auth:client-audit-history:<clientId>',
      output: getEntityHistoryResponse,
    },
    ({ params: { clientId }, query }, { store }) =>
      historyOf(query, (after, limit) => store.audit.byClient(clientId, after, limit)),
  );
}

async function historyOf(
  query: Readonly<Record<string, string | undefined>>,
  fetch: (after: number, limit: number) => Promise<readonly AuditRecord[]>,
): Promise<object> {
  const { entries, continuationToken } = await page(
    query,
    ({ after, limit }: PageRequest) => fetch(numberOf(after), limit),
    ({ number }) => String(number),
  );
  // The fields of Taskcluster's auth service, and no more.
  const auditHistory = entries.map(({ clientId, actionType, created, entityId, entityType }) => ({
    clientId,
    actionType,
    created,
    entityId,
    entityType,
  }));
  return { auditHistory, continuationToken };
}

function numberOf(after: string): number {
  if (!/^\d{0,15}$/.test(after)) {
    throw new ApiError('InputError', 'Invalid continuation token');
  }
  return Number(after);
}
