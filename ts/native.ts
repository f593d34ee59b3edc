/**
 * The one door to the Rust side: the addon's surface as types, and the loader that finds the
 * binary for this machine. No rules here, and nobody else loads the addon.
 *
 * Durations are milliseconds, sizes bytes, points in time seconds since 1970 unless a name says
 * otherwise.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Taskcluster credentials; `certificate` is the JSON text that temporary credentials carry. */
export interface NativeCredentials {
  clientId: string;
  accessToken: string;
  certificate?: string | undefined;
}

/** What the core needs to start; everything is decided, nothing defaults. */
export interface NativeOptions {
  rootUrl: string;
  credentials: NativeCredentials;
  /** Absent: no restriction. An empty list is the empty restriction. */
  authorizedScopes?: string[] | undefined;
  /** Empty: all interfaces. */
  ipAddresses: string[];
  port: number;
  allowedUser?: string | undefined;
  allowedNetwork?: string | undefined;
  allowCrossSite: boolean;
  hosts: string[];
  retryFirst: number;
  retryCap: number;
  retryFor: number;
  replayLimit: number;
  replayTotal: number;
  headerTimeout: number;
  responseTimeout: number;
  /** Absent: an update does not wait for running requests. */
  drainTimeout?: number | undefined;
  logFormat: 'text' | 'json';
  logLevel: 'error' | 'warn' | 'info' | 'debug';
}

/** A running proxy. */
export interface NativeProxy {
  /** `host:port` of each listener, IPv6 in brackets. */
  readonly addresses: string[];
  /** Resolves once the set is in force. */
  updateCredentials(credentials: NativeCredentials): Promise<void>;
  counters(): Record<string, number>;
  /** Resolves once the last request has finished, or `grace` has passed. */
  stop(grace: number): Promise<void>;
}

/** The request that a MAC covers. */
export interface NativeRequest {
  method: string;
  /** Origin form: path and query, byte for byte as they go out. */
  target: string;
  /** Host name, or an IP literal (IPv6 in brackets). */
  host: string;
  port: number;
}

/** Everything the addon exports. Its errors carry a `code`. */
export interface Native {
  version(): string;
  /** `unknown` for a build outside a git checkout. */
  revision(): string;
  /** Closes this process to debuggers and core dumps. */
  hardenProcess(): void;
}

/** No binary of the addon fits this machine, or it does not load. */
export class MissingBinaryError extends Error {
  override readonly name = 'MissingBinaryError';
  readonly code = 'ERR_MISSING_BINARY';
}

/** Whether this process runs on musl: its dynamic loader is named in the program's own file. */
function isMusl(): boolean {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime === undefined;
}

/** The platform as napi-rs names it, such as `linux-x64-gnu`. */
function platform(): string {
  switch (process.platform) {
    case 'linux':
      return `linux-${process.arch}-${isMusl() ? 'musl' : 'gnu'}`;
    case 'win32':
      return `win32-${process.arch}-msvc`;
    default:
      return `${process.platform}-${process.arch}`;
  }
}

function load(): Native {
  const target = platform();
  const require = createRequire(import.meta.url);
  const local = new URL(`../taskcluster-proxy.${target}.node`, import.meta.url);
  if (existsSync(local)) {
    return require(local.pathname) as Native;
  }
  return require(`taskcluster-proxy-${target}`) as Native;
}

/** The addon. */
export const native: Native = load();
void readFileSync;
