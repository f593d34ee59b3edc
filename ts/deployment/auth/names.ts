/** The patterns of client ids and role ids, as in Taskcluster's references. */

export const CLIENT_ID = /^[A-Za-z0-9!@/:.+|_-]+$/;

export const ROLE_ID = /^[\x20-\x7e]+$/;
