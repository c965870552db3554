/**
 * The callers of the transitions benchmark, in a process of their own: each has a connection that is kept alive and its own task
 * instances, reports log_running and then log_done for one after the other, and waits for each answer. The HTTP client is
 * written on a bare socket: a general one takes more of the two cores than the server's whole bus does.
 */
import { createConnection, type Socket } from 'node:net';

/** What the parent process asks for: instances `first_id` … are dealt out to the callers in equal parts. */
export interface Round {
  readonly port: number;
  readonly callers: number;
  readonly first_id: number;
  readonly instances_per_caller: number;
}

export interface RoundResult {
  readonly transitions: number;
  readonly seconds: number;
  readonly failed: number;
  /** The first few failures, in words. */
  readonly failures: readonly string[];
  readonly p50_ms: number;
  readonly p99_ms: number;
}

const FAILURES_SHOWN_MAX = 5;

/** One connection; one request at a time. Takes answers with a content-length only: the api sends no others here. */
class Connection {
  private received: Buffer = Buffer.alloc(0);
  private settle: { resolve: (answer: { status: number; body: string }) => void; reject: (error: Error) => void } | undefined;

  private constructor(
    private readonly socket: Socket,
    private readonly host: string,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('error', (error) => this.settle?.reject(error));
    socket.on('close', () => this.settle?.reject(new Error('the server closed the connection')));
  }

  static open(port: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(port, '127.0.0.1', () => resolve(new Connection(socket, `127.0.0.1:${port}`)));
      socket.once('error', reject);
    });
  }

  post(path: string, body: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
      const head = `POST ${path} HTTP/1.1\r\nhost: ${this.host}\r\ncontent-type: application/json\r\ncontent-length: `;
      this.socket.write(`${head}${Buffer.byteLength(body)}\r\n\r\n${body}`);
    });
  }

  close(): void {
    this.socket.removeAllListeners('close');
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    const headEnd = this.received.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const head = this.received.toString('latin1', 0, headEnd);
    const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
    const settle = this.settle;
    if (length === undefined) return settle?.reject(new Error(`an answer without content-length: ${head}`));
    const end = headEnd + 4 + Number(length);
    if (this.received.length < end) return;
    const body = this.received.toString('utf8', headEnd + 4, end);
    this.received = this.received.subarray(end);
    this.settle = undefined;
    settle?.resolve({ status: Number(head.slice(9, 12)), body });
  }
}

/** The bodies that a worker of the Python system sends. */
const RUNNING = JSON.stringify({
  process_group_id: 4242,
  next_report_increment: 279,
  nodename: 'node-0042',
  distributor_id: '987654',
});
const DONE = JSON.stringify({
  stdout: '/home/ada/jobmon-logs/17/fit-0042.out',
  stderr: '/home/ada/jobmon-logs/17/fit-0042.err',
  stdout_log: 'read 20000 rows\nfit converged after 17 steps\n',
  stderr_log: '',
  nodename: 'node-0042',
  distributor_id: '987654',
});

async function playRound(round: Round): Promise<RoundResult> {
  const { callers, instances_per_caller } = round;
  const connections = await Promise.all(Array.from({ length: callers }, () => Connection.open(round.port)));
  const latencies = new Float64Array(callers * instances_per_caller * 2);
  const failures: string[] = [];
  let failed = 0;
  let count = 0;

  const report = async (connection: Connection, id: number, route: string, body: string, status: string): Promise<void> => {
    const started = performance.now();
    const answer = await connection.post(`/api/v3/task_instance/${id}/${route}`, body);
    latencies[count++] = performance.now() - started;
    if (answer.status === 200 && answer.body.includes(status)) return;
    failed += 1;
    if (failures.length < FAILURES_SHOWN_MAX) failures.push(`${route} of ${id}: ${answer.status} ${answer.body.slice(0, 300)}`);
  };
  const call = async (connection: Connection, caller: number): Promise<void> => {
    for (let nth = 0; nth < instances_per_caller; nth += 1) {
      const id = round.first_id + nth * callers + caller;
      await report(connection, id, 'log_running', RUNNING, `[${id},"R",`);
      await report(connection, id, 'log_done', DONE, '"status":"D"');
    }
  };

  const started = performance.now();
  await Promise.all(connections.map(call));
  const seconds = (performance.now() - started) / 1000;
  for (const connection of connections) connection.close();
  const sorted = latencies.subarray(0, count).sort();
  const quantile = (share: number): number => sorted[Math.min(count - 1, Math.floor(count * share))] ?? 0;
  return { transitions: count - failed, seconds, failed, failures, p50_ms: quantile(0.5), p99_ms: quantile(0.99) };
}

process.on('message', (round: Round) => {
  playRound(round).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
