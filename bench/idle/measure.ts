/** What a system of processes costs in a stretch of time: processor time and memory of each, statements and rows of the database, messages. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { NatsProcess } from '@jobmon/testkit';
import type { Connection } from 'mysql2/promise';

/** A process by its name and number. */
export interface Part {
  readonly name: string;
  readonly pid: number;
}

/** All figures a minute, but memory, which stands at the end. */
export interface Cost {
  readonly cpu_seconds: ReadonlyMap<string, number>;
  readonly rss_mib: ReadonlyMap<string, number>;
  /** By kind: all, and those of each command that the database counts. */
  readonly statements: ReadonlyMap<string, number>;
  readonly rows_read: number;
  /** What NATS took in. */
  readonly messages: number;
}

/** Status variables of the server and what they are called here. */
const STATEMENTS = {
  Questions: 'all',
  Com_select: 'SELECT',
  Com_insert: 'INSERT',
  Com_update: 'UPDATE',
  Com_update_multi: 'UPDATE of rows given',
  Com_insert_select: 'INSERT of rows given',
  Com_delete: 'DELETE',
  Com_commit: 'COMMIT',
} as const;

interface Standing {
  readonly at_ms: number;
  readonly cpu: ReadonlyMap<string, number>;
  readonly status: ReadonlyMap<string, number>;
  readonly messages: number;
}

export async function measure(parts: readonly Part[], database: Connection, nats: NatsProcess, seconds: number): Promise<Cost> {
  const before = await look(parts, database, nats);
  await pause(seconds * 1_000);
  const after = await look(parts, database, nats);
  const minutes = (after.at_ms - before.at_ms) / 60_000;
  const grown = (name: string): number => ((after.status.get(name) ?? 0) - (before.status.get(name) ?? 0)) / minutes;
  return {
    cpu_seconds: new Map(parts.map(({ name }) => [name, (after.cpu.get(name)! - before.cpu.get(name)!) / minutes])),
    rss_mib: new Map(parts.map(({ name, pid }) => [name, residentMib(pid)])),
    statements: new Map(Object.entries(STATEMENTS).map(([variable, name]) => [name, grown(variable)])),
    rows_read: grown('Rows_read'),
    messages: (after.messages - before.messages) / minutes,
  };
}

async function look(parts: readonly Part[], database: Connection, nats: NatsProcess): Promise<Standing> {
  const [rows] = (await database.query('SHOW GLOBAL STATUS')) as unknown as [{ Variable_name: string; Value: string }[]];
  return {
    at_ms: performance.now(),
    cpu: new Map(parts.map(({ name, pid }) => [name, cpuSeconds(pid)])),
    status: new Map(rows.map(({ Variable_name, Value }) => [Variable_name, Number(Value)])),
    messages: await messagesOf(nats),
  };
}

/** NATS tells it on the port of its monitor, which stands in the file of its ports. */
async function messagesOf(nats: NatsProcess): Promise<number> {
  const ports = join(nats.folder, 'ports');
  const said = JSON.parse(readFileSync(join(ports, readdirSync(ports)[0]!), 'utf8')) as { monitoring: string[] };
  const answer = await fetch(`${said.monitoring[0]}/varz`);
  return ((await answer.json()) as { in_msgs: number }).in_msgs;
}

/** What Linux has on every machine that this runs on. */
const PAGE_BYTES = 4_096;
const TICKS_A_SECOND = 100;

/** User and system time so far. Throws when the process has ended: then nothing was measured. */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The name stands in brackets and may hold anything; user and system time are the 14th and 15th field.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

function residentMib(pid: number): number {
  return (Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * PAGE_BYTES) / 2 ** 20;
}
