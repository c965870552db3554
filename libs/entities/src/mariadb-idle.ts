/**
 * Connections that rest. A server closes what rests for its `wait_timeout`, and whoever uses such a connection in that moment can't know
 * whether his statement was run. So a pool closes them itself, in good time; what it gives out was used lately. (The pool's own `maxIdle`
 * and `idleTimeout` close every connection above the one number each second, used or not.)
 */
import type { Pool, PoolConnection } from 'mysql2';

/** A connection rests no longer than this, nor than half of the server's `wait_timeout`. */
const REST_MS_MAX = 60_000;
/** Until the server has told its own. */
const WAIT_TIMEOUT_SECONDS_MIN = 1;
/** Looks in the time that a connection may rest. */
const LOOKS = 4;

const restOf = (wait_timeout_seconds: number): number => Math.min((wait_timeout_seconds * 1_000) / 2, REST_MS_MAX);

interface Rest {
  used_ms: number;
  limit_ms: number;
  isFree: boolean;
}

/** Each connection asks the server for its `wait_timeout` itself: after a restart it may be another. */
export function closeIdle(pool: Pool): void {
  const rests = new Map<PoolConnection, Rest>();
  const isOver = ({ used_ms, limit_ms }: Rest): boolean => performance.now() - used_ms > limit_ms;
  const used = (connection: PoolConnection, isFree: boolean): void => {
    const rest = rests.get(connection);
    if (rest !== undefined) Object.assign(rest, { used_ms: performance.now(), isFree });
  };
  const close = (connection: PoolConnection): void => {
    rests.delete(connection);
    connection.end();
  };
  const look = (): void => {
    for (const [connection, rest] of rests) if (rest.isFree && isOver(rest)) close(connection);
  };
  let interval_ms = REST_MS_MAX / LOOKS;
  let timer = setInterval(look, interval_ms).unref();

  pool.on('connection', (connection) => {
    const rest = { used_ms: performance.now(), limit_ms: restOf(WAIT_TIMEOUT_SECONDS_MIN), isFree: false };
    rests.set(connection, rest);
    connection.once('end', () => rests.delete(connection));
    connection.once('error', () => rests.delete(connection));
    connection.query('SELECT @@SESSION.wait_timeout AS seconds', (error: unknown, rows: unknown) => {
      if (error) return;
      rest.limit_ms = restOf(Number((rows as { seconds: number }[])[0]?.seconds));
      if (rest.limit_ms >= interval_ms * LOOKS) return;
      interval_ms = rest.limit_ms / LOOKS;
      clearInterval(timer);
      timer = setInterval(look, interval_ms).unref();
    });
  });
  pool.on('release', (connection) => used(connection, true));

  const [give, end] = [pool.getConnection.bind(pool), pool.end.bind(pool)];
  pool.getConnection = (callback) => {
    give((error, connection) => {
      const rest = error ? undefined : rests.get(connection);
      if (rest !== undefined && rest.isFree && isOver(rest)) {
        close(connection);
        return pool.getConnection(callback);
      }
      used(connection, false);
      callback(error, connection);
    });
  };
  pool.end = (...done: Parameters<typeof end>) => {
    clearInterval(timer);
    return end(...done);
  };
}
