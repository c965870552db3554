/** What the api answers about itself (spec/http-api-execution.md section 5). */
import type { getAlive, getHealth, getTime, ReplyOf } from '@jobmon/contracts';
import type { Room } from './context';

/** S1: no look at the database. */
export function answerAlive(): ReplyOf<typeof getAlive> {
  return { msg: 'Yes, this server is up' };
}

/** S2. */
export async function answerTime({ database }: Room): Promise<ReplyOf<typeof getTime>> {
  const [row] = await database.read<{ time: string }>(`SELECT ${database.dialect.now} AS time`);
  return { time: String(row?.time) };
}

/** S3. */
export async function answerHealth({ database }: Room): Promise<ReplyOf<typeof getHealth>> {
  await database.read('SELECT 1 AS one');
  return { status: 'OK' };
}
