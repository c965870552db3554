// `node tools/keeper.mjs`: ends processes when whoever started them is gone, however he went. It is told them by lines on its standard input:
// `+ PID PATIENCE_MS` for one that has begun, `- PID` for one that has ended. When its input ends, all that are left are ended,
// last begun first, those with the same patience together: SIGTERM, and SIGKILL when the patience is over.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

const LOOK_MS = 50;

/** Starts a keeper of this process' children; answers `{keep(child, patience_ms)}`. A child that ends is forgotten by it. */
export function startKeeper() {
  // A group of its own: Ctrl-C is for its caller, whose end it waits for.
  const keeper = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    stdio: ['pipe', 'inherit', 'inherit'],
    detached: true,
  });
  keeper.stdin.on('error', () => undefined);
  keeper.stdin.unref();
  keeper.unref();
  const keep = ({ pid }, patience_ms) => keeper.stdin.write(`+ ${pid} ${patience_ms}\n`);
  const forget = ({ pid }) => keeper.stdin.write(`- ${pid}\n`);
  return { keep, forget };
}

function signal(pid, name) {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false; // It has ended.
  }
}

async function end(pids, patience_ms) {
  const deadline = Date.now() + patience_ms;
  for (const pid of pids) signal(pid, 'SIGTERM');
  while (pids.some((pid) => signal(pid, 0)) && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  for (const pid of pids) signal(pid, 'SIGKILL');
}

async function main() {
  const kept = new Map();
  for await (const line of createInterface({ input: process.stdin })) {
    const [what, pid, patience_ms] = line.split(' ');
    if (what === '+') kept.set(Number(pid), Number(patience_ms));
    else kept.delete(Number(pid));
  }
  const rest = [...kept].reverse();
  while (rest.length > 0) {
    const [, patience_ms] = rest[0];
    const many = rest.findIndex(([, other]) => other !== patience_ms);
    const together = rest.splice(0, many === -1 ? rest.length : many);
    await end(
      together.map(([pid]) => pid),
      patience_ms,
    );
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(path.resolve(process.argv[1])).href) await main();
