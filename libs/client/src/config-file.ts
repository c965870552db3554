/** The file that `JOBMON__CONFIG_FILE` names, as far as a client reads it: where its server is. */
import { readFileSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';
import type { TokenSource } from './send';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the api answers and what to show it. */
export interface Server {
  readonly url: string;
  /** Its text; or where it is had anew each time, for one that a login gave. */
  readonly token?: string | TokenSource;
}

/**
 * The server that the file's section `http` names by `service_url` and `token`; undefined when it names none. `$NAME` and `${NAME}` in
 * values stand for variables of the environment. Throws MALFORMED naming the file.
 */
export async function serverInFile(file: string, env: Environment): Promise<Server | undefined> {
  const malformed = (what: string, cause?: unknown): JobmonError =>
    new JobmonError('MALFORMED', `the file ${file} that JOBMON__CONFIG_FILE names ${what}`, undefined, { cause });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw malformed(`cannot be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`, cause);
  }
  // Few programs have such a file; the others do without a reader of YAML.
  const { parse } = await import('yaml');
  let tree: unknown;
  try {
    tree = parse(text);
  } catch (cause) {
    throw malformed(`is no YAML: ${(cause as Error).message.split('\n')[0]}`, cause);
  }
  const http = ((tree ?? {}) as { http?: unknown }).http;
  const { service_url: url, token } = (http ?? {}) as { service_url?: unknown; token?: unknown };
  if (url === undefined || url === null || url === '') return undefined;
  const expanded = (value: unknown): string => {
    if (typeof value !== 'string') throw malformed('has something else than text in http.service_url or http.token');
    return value.replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, braced?: string, bare?: string) => env[braced ?? bare ?? ''] ?? whole);
  };
  return { url: expanded(url), ...(token === undefined || token === null ? {} : { token: expanded(token) }) };
}
