/** A database with a test between it and the state machine: sees each statement's result and may change it or throw. */
import { JobmonError } from '@jobmon/contracts';
import type { Database, Procedure, Statement, StatementResult, WriteOptions } from '@jobmon/entities';

type Hook = (statement: Statement, result: StatementResult) => StatementResult;

/** Each statement of each write passes through `hook`; what it throws is thrown inside the procedure. */
export function interposed(database: Database, hook: Hook): Database {
  return over(database, (options, procedure) =>
    database.write(options, function* () {
      const inner = procedure();
      let step = inner.next();
      while (!step.done) step = inner.next(hook(step.value, yield step.value));
      return step.value;
    }),
  );
}

/** The first `times` writes commit, and then nobody answers: what a connection lost after COMMIT looks like. */
export function losingCommits(database: Database, times: number): Database {
  let left = times;
  return over(database, async (options, procedure) => {
    const answer = await database.write(options, procedure);
    if (left === 0) return answer;
    left -= 1;
    throw new JobmonError('UNAVAILABLE', 'the answer to COMMIT was lost', { commit_unknown: true });
  });
}

/** Writes with this label wait for the gate; all others go on. */
export function waitingAt(database: Database, label: string, gate: Promise<void>): Database {
  return over(database, async (options, procedure) => {
    if (options.label === label) await gate;
    return database.write(options, procedure);
  });
}

/** After so many writes the process is gone: nothing of it reaches the database any more. */
export function dyingAfter(database: Database, writes: number): Database {
  let left = writes;
  return over(database, async (options, procedure) => {
    if (left === 0) throw new JobmonError('UNAVAILABLE', 'the process is gone');
    left -= 1;
    return database.write(options, procedure);
  });
}

function over(
  database: Database,
  write: (options: WriteOptions, procedure: () => Procedure<unknown>) => Promise<unknown>,
): Database {
  return new Proxy(database, {
    get(target, member) {
      const value: unknown = member === 'write' ? write : Reflect.get(target, member, target);
      return typeof value === 'function' && member !== 'write' ? (value as (...all: unknown[]) => unknown).bind(target) : value;
    },
  });
}
