/** What the api answers about itself (spec/http-api-execution.md section 5). */
import { failOnPurpose, getAlive, getApiVersion, getHealth, getTime, JobmonError, type ReplyOf } from '@jobmon/contracts';
import type { Register, Room } from '../context';

export function registerService(answer: Register): void {
  answer(getAlive, answerAlive);
  answer(getTime, answerTime);
  answer(getHealth, answerHealth);
  answer(failOnPurpose, fail);
  answer(getApiVersion, answerApiVersion);
}

/** S1: no look at the database. */
function answerAlive(): ReplyOf<typeof getAlive> {
  return { msg: 'Yes, this server is up' };
}

/** S2. */
async function answerTime({ database }: Room): Promise<ReplyOf<typeof getTime>> {
  const [row] = await database.read<{ time: string }>(`SELECT ${database.dialect.now} AS time`);
  return { time: String(row?.time) };
}

/** S3. */
async function answerHealth({ database }: Room): Promise<ReplyOf<typeof getHealth>> {
  await database.read('SELECT 1 AS one');
  return { status: 'OK' };
}

/** S4. */
function fail(): never {
  throw new JobmonError('INTERNAL', 'this path fails on purpose');
}

/** S5. */
function answerApiVersion(): ReplyOf<typeof getApiVersion> {
  return { status: 'v3' };
}
