/** Writes that must match exactly the rows that were locked and decided on. */
import { together, type Procedure, type Statement, type StatementResult } from '@jobmon/entities';

/** A guarded write matched fewer rows than were locked for it. Never happens unless the code is wrong. */
export class GuardMissed extends Error {
  constructor(what: string, expected: number, affected: number) {
    super(`${what}: ${affected} of ${expected} rows matched under the lock`);
    this.name = 'GuardMissed';
  }
}

/** Fails the transaction unless a guarded write matched exactly the rows that were decided on. */
export function* guarded(what: string, expected: number, statement: Statement): Procedure<void> {
  requireMatch(what, expected, yield statement);
}

/** A write with the number of rows that it must match; null where any number is right. */
export interface Guarded {
  readonly what: string;
  readonly expected: number | null;
  readonly statement: Statement;
}

/** The same for writes in this order, in one message. */
export function* guardedTogether(writes: readonly Guarded[]): Procedure<void> {
  const results = yield* together(writes.map(({ statement }) => statement));
  for (const [index, { what, expected }] of writes.entries()) {
    if (expected !== null) requireMatch(what, expected, results[index] as StatementResult);
  }
}

function requireMatch(what: string, expected: number, { affected }: StatementResult): void {
  if (affected !== expected) throw new GuardMissed(what, expected, affected);
}
