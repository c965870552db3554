/** Runs a small program for each case: signals and exit codes are a process's own. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync } from 'esbuild';

const folder = mkdtempSync(join(tmpdir(), 'jobmon-shutdown-'));
const bundle = join(folder, 'shutdown.js');
beforeAll(() => {
  buildSync({
    entryPoints: [join(__dirname, 'shutdown.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    logLevel: 'error',
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Case {
  readonly stop: string;
  readonly signals: readonly NodeJS.Signals[];
  readonly bound_ms?: number;
}

/** Starts a program that never ends by itself and sends it the signals, each once it has said that it took the one before. */
function end({ stop, signals, bound_ms }: Case): Promise<{ code: number | null; out: string }> {
  const program = `
    const { onShutdown } = require(${JSON.stringify(bundle)});
    const log = { info: () => {}, error: (_fields, message) => console.log(message) };
    setInterval(() => {}, 1000);
    onShutdown(async (signal) => { console.log('got ' + signal); ${stop} }, { log, bound_ms: ${bound_ms ?? 10_000} });
    console.log('ready');`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const waiting = [...signals];
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
    const next = waiting.shift();
    if (next !== undefined) child.kill(next);
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out })));
}

const forever = 'await new Promise(() => {});';

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s stops in order', async (signal) => {
  expect(await end({ stop: "console.log('stopped');", signals: [signal] })).toEqual({
    code: 0,
    out: `ready\ngot ${signal}\nstopped\n`,
  });
});

it('a second Ctrl-C ends at once', async () => {
  const askAgain = "setTimeout(() => console.log('again?'), 300); await new Promise(() => {});";
  const { code, out } = await end({ stop: askAgain, signals: ['SIGINT', 'SIGTERM', 'SIGINT'] });
  expect([code, out]).toEqual([130, 'ready\ngot SIGINT\nagain?\n']);
});

it('one press of Ctrl-C that arrives twice is one', async () => {
  const slowly = "await new Promise((go) => setTimeout(go, 100)); console.log('stopped');";
  const { code, out } = await end({ stop: slowly, signals: ['SIGINT', 'SIGINT'] });
  expect([code, out]).toEqual([0, 'ready\ngot SIGINT\nstopped\n']);
});

it('a second SIGTERM does not stop twice', async () => {
  const slowly = "await new Promise((go) => process.once('SIGTERM', () => setImmediate(go))); console.log('stopped');";
  expect(await end({ stop: slowly, signals: ['SIGTERM', 'SIGTERM'] })).toEqual({ code: 0, out: 'ready\ngot SIGTERM\nstopped\n' });
});

it('a stop that takes too long ends with an error', async () => {
  const { code, out } = await end({ stop: forever, signals: ['SIGTERM'], bound_ms: 50 });
  expect([code, out]).toEqual([1, 'ready\ngot SIGTERM\ncould not stop in time\n']);
});

it('a stop that fails ends with an error', async () => {
  const { code, out } = await end({ stop: "throw new Error('no');", signals: ['SIGTERM'] });
  expect([code, out]).toEqual([1, 'ready\ngot SIGTERM\nstopping failed\n']);
});

it('a reader that went away is no error', async () => {
  const program = `
    require(${JSON.stringify(bundle)}).onShutdown(async () => {}, { log: { info() {}, error() {} } });
    process.stdin.once('data', () => {
      // The broken pipe is told as an error and then as a close; an error that nobody takes ends the process with 1 before.
      process.stdout.once('close', () => {
        process.exitCode = 7;
        process.stdin.destroy();
      });
      for (let i = 0; i < 100; i += 1) process.stdout.write('x'.repeat(10_000));
    });`;
  const child = spawn(process.execPath, ['-e', program], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdout.destroy();
  child.stdin.write('go\n');
  const code = await new Promise((resolve) => child.on('close', resolve));
  expect(code).toBe(7);
});
