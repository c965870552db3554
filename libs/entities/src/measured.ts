/** A database whose reads and writes are timed, and whose committed statements are counted, for the metrics of a process. */
import { JobmonError } from '@jobmon/contracts';
import { metrics } from '@jobmon/runtime';
import type { DataSource } from 'typeorm';
import type { Database, Dialect, Procedure, SqlValue, StatementCounts, WriteOptions } from './database';

/** The same database, measured. Reads are together under the label `read`, writes by their own labels. */
export function measured(database: Database): Database {
  return new MeasuredDatabase(database);
}

class MeasuredDatabase implements Database {
  readonly dialect: Dialect;
  readonly dataSource: DataSource;
  readonly batch_bytes_max: number;
  readonly counts: StatementCounts;

  constructor(private readonly database: Database) {
    this.dialect = database.dialect;
    this.dataSource = database.dataSource;
    this.batch_bytes_max = database.batch_bytes_max;
    this.counts = database.counts;
  }

  read<Row>(sql: string, params?: readonly SqlValue[]): Promise<Row[]> {
    return timed('read', () => this.database.read<Row>(sql, params));
  }

  async write<T>(options: WriteOptions, procedure: () => Procedure<T>): Promise<T> {
    let committed: (() => void)[] = [];
    const watched = function* (): Procedure<T> {
      // A procedure that is run again has committed nothing before.
      committed = [];
      const running = procedure();
      let step = running.next();
      while (!step.done) {
        const result = yield step.value;
        if (step.value.onCommit !== undefined) committed.push(step.value.onCommit);
        step = running.next(result);
      }
      return step.value;
    };
    const answer = await timed(options.label, () => this.database.write(options, watched));
    for (const count of committed) count();
    return answer;
  }

  close(): Promise<void> {
    return this.database.close();
  }
}

async function timed<T>(label: string, act: () => Promise<T>): Promise<T> {
  const since = performance.now();
  let code = 'OK';
  try {
    return await act();
  } catch (error) {
    code = error instanceof JobmonError ? error.code : 'INTERNAL';
    throw error;
  } finally {
    metrics.database_seconds.observe({ label, code }, (performance.now() - since) / 1_000);
  }
}
