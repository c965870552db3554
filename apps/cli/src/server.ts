/** The server that the commands speak to, and numbers and words as they are typed. */
import { ID_MAX } from '@jobmon/contracts';
import { Connection, findServer, type CallOf } from '@jobmon/client';
import type { Operation, ReplyOf } from '@jobmon/contracts';
import { InvalidArgumentError } from 'commander';

/** A person waits at the terminal: few tries, so that a server that is away is told within about a second. */
const TRIES_MAX = 4;

export async function connect(): Promise<Connection> {
  return new Connection(await findServer());
}

/** One call, tried as often as a person has patience for. */
export async function ask<O extends Operation>(operation: O, request: CallOf<O>): Promise<ReplyOf<O>> {
  return (await connect()).send(operation, request, { tries_max: TRIES_MAX });
}

export function parseId(text: string): number {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (id < 1 || id > ID_MAX) throw new InvalidArgumentError('It must be a whole number above 0.');
  return id;
}

export function parseCount(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError('It must be a whole number from 1 to 999999.');
  return count;
}
