/** The server that the commands speak to, and numbers and words as they are typed. */
import path from 'node:path';
import { ID_MAX, type Operation, type ReplyOf } from '@jobmon/contracts';
import { Connection, findServer, loginToken, profilePath, type CallOf, type Server } from '@jobmon/client';
import { InvalidArgumentError } from 'commander';
import { settings } from './settings';

/** A person waits at the terminal: few tries, so that a server that is away is told within about a second. */
const TRIES_MAX = 4;

/** By `--server`, `--profile`, environment or client profile, in this order; `--token` goes before every other token. */
export async function findApi(): Promise<Server> {
  const { server: url, profile, token } = settings;
  const found = url === undefined ? await findServer(profile === undefined ? {} : { file: profileFile(profile) }) : { url };
  const known = token ?? (url === undefined ? (found as Server).token : await tokenOf(url));
  return { url: found.url, ...(known === undefined ? {} : { token: known }) };
}

/** For an address on the line: the environment's token, else the profile's when it is the profile's server, else that of a login there. */
async function tokenOf(url: string): Promise<Server['token']> {
  if (process.env.JOBMON__HTTP__TOKEN) return process.env.JOBMON__HTTP__TOKEN;
  const known = await findServer({ file: profilePath() }).catch(() => undefined);
  return (known?.url === url.replace(/\/+$/, '') ? known?.token : undefined) ?? loginToken(url);
}

function profileFile(name: string): string {
  return /[/\\]|\.json$/.test(name) ? name : path.join(path.dirname(profilePath()), `${name}.json`);
}

export async function connect(): Promise<Connection> {
  return new Connection(await findApi());
}

/** One call, tried as often as a person has patience for. */
export async function ask<O extends Operation>(operation: O, request: CallOf<O>): Promise<ReplyOf<O>> {
  return (await connect()).send(operation, request, { tries_max: TRIES_MAX });
}

/** Pages of a list until `limit` rows are there or no page is left; answers whether there are more. */
export async function gather<Row, At>(
  limit: number,
  page_max: number,
  page: (at: At | undefined, count: number) => Promise<{ rows: readonly Row[]; next: At | null }>,
): Promise<{ rows: Row[]; hasMore: boolean }> {
  const rows: Row[] = [];
  for (let at: At | undefined; ;) {
    const answer = await page(at, Math.min(page_max, limit - rows.length));
    rows.push(...answer.rows);
    if (answer.next === null) return { rows, hasMore: false };
    if (rows.length >= limit) return { rows, hasMore: true };
    at = answer.next;
  }
}

export function parseId(text: string): number {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (id < 1 || id > ID_MAX) throw new InvalidArgumentError(`It must be a whole number from 1 to ${ID_MAX}.`);
  return id;
}

/** For an option that is repeated, or given `1,2,3`. */
export function parseIds(text: string, former: readonly number[] = []): number[] {
  return [...former, ...text.split(',').map((part) => parseId(part.trim()))];
}

/** For an option that is repeated, or given `a,b`. */
export function parseWords(text: string, former: readonly string[] = []): string[] {
  return [...former, ...text.split(',').map((part) => part.trim())].filter((word) => word !== '');
}

/** For an option of statuses, repeated or given `a,b`: words or letters of a machine, in any case, and other words for some. */
export function statusParser<Letter extends string>(
  states: Readonly<Record<Letter, { readonly label: string }>>,
  others: Readonly<Record<string, string>> = {},
): (text: string, former?: readonly Letter[]) => Letter[] {
  const known = Object.entries<{ readonly label: string }>(states) as [Letter, { readonly label: string }][];
  return (text, former = []) => {
    const letters = parseWords(text.toUpperCase()).map((given) => {
      const word = others[given] ?? given;
      const found = known.find(([letter, { label }]) => letter === word || label === word);
      if (found === undefined)
        throw new InvalidArgumentError(`It must be one of ${known.map(([, { label }]) => label).join(', ')}.`);
      return found[0];
    });
    return [...former, ...letters];
  };
}

/** For an option that is repeated. */
export function parseTexts(text: string, former: readonly string[] = []): string[] {
  return [...former, text];
}

/** For an option that is repeated, KEY=VALUE or KEY. */
export function parseAttributes(text: string, former: readonly string[] = []): string[] {
  if (/^=|^$/.test(text)) throw new InvalidArgumentError('It must be KEY=VALUE, or a KEY.');
  return [...former, text];
}

export function parseCount(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError('It must be a whole number from 1 to 999999.');
  return count;
}

/** Seconds: `90`, `90s`, `5m`, `2h`, `1d`. */
export function parseSeconds(text: string): number {
  const [, number, unit = 's'] = /^(\d{1,7}(?:\.\d+)?)\s*([smhd]?)$/.exec(text.trim()) ?? [];
  const seconds = Number(number) * { s: 1, m: 60, h: 3_600, d: 86_400 }[(unit || 's') as 's' | 'm' | 'h' | 'd'];
  if (!(seconds > 0)) throw new InvalidArgumentError('It must be a time like 90, 90s, 5m or 2h.');
  return seconds;
}
