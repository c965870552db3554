/**
 * A process that logs, as any service does: `node speaker.js NATS_URL RECORDS FIRST_ATTEMPT ATTEMPTS`. Warnings about attempts by pino, its queue,
 * its shipper, onto JetStream. It never lets its queue run full, since what is shed is not measured. Tells what it did as one line of JSON.
 */
import { openLogStream } from '@jobmon/messaging/service';
import { createLogger, loadConfig, LogQueue, shipLogs } from '@jobmon/runtime';

/** Lines said without a look at the queue, and those that may wait in it. */
const BREATH = 500;
const WAITING_MAX = 8_000;

async function main(): Promise<void> {
  const [url, count, first, attempts] = process.argv.slice(2);
  const { config } = loadConfig({ env: { JOBMON__NATS__URL: url } });
  const queue = new LogQueue();
  const log = createLogger({ service: 'speaker', instance: `s-${process.pid}`, level: 'info', destination: '/dev/null', queue });
  const stream = await openLogStream('speaker', { config, log }, false);
  const shipper = shipLogs({ queue, stream, log });
  const began = performance.now();
  let said_ms = 0;
  for (let n = 0; n < Number(count);) {
    const from = performance.now();
    for (const upto = Math.min(Number(count), n + BREATH); n < upto; n += 1) {
      const task_instance_id = Number(first) + (n % Number(attempts));
      log.warn(
        { task_instance_id, status: 'ERROR', why: `exit code 3 on node${n % 100}: no room`, operation: 'log_error' },
        'an attempt failed',
      );
    }
    said_ms += performance.now() - from;
    do await new Promise((resolve) => setImmediate(resolve));
    while (queue.waiting > WAITING_MAX);
  }
  while (queue.waiting > 0) await new Promise((resolve) => setTimeout(resolve, 2));
  await shipper.close();
  const seconds = (performance.now() - began) / 1_000;
  const { rss } = process.memoryUsage();
  process.stdout.write(`${JSON.stringify({ taken: queue.counts.taken, shed: queue.counts.shed, said_ms, seconds, rss })}\n`);
  await stream.close();
}

void main();
