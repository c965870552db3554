/** A server that a tool of `tools/` starts, kept by a process of its own that ends it when whoever started it ends or dies. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

/** Runs the tool, tells its server in one line, and stops it when its own input ends. */
const KEEPER = `
  const [tool, start, folder, options] = process.argv.slice(1);
  const { stop, ...server } = await (await import(tool))[start](folder, JSON.parse(options));
  console.log(JSON.stringify(server));
  process.stdin.on('end', async () => { await stop(); process.exit(0); }).resume();
`;

export interface KeptServer<Standing> {
  /** What the tool said of its server. */
  readonly standing: Standing;
  /** Ends the server, if it has not ended, and answers when it has. */
  end(): Promise<void>;
}

/** Calls `start(folder, options)` of a tool. Throws when the server could not be started; its words went to standard error. */
export async function keepServer<Standing>(
  tool: string,
  start: string,
  folder: string,
  options: object,
): Promise<KeptServer<Standing>> {
  const url = pathToFileURL(path.resolve(__dirname, '..', '..', '..', 'tools', tool)).href;
  const args = ['--input-type=module', '-e', KEEPER, '--', url, start, folder, JSON.stringify(options)];
  const keeper = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const hasEnded = once(keeper, 'exit');
  const [line] = (await Promise.race([once(keeper.stdout, 'data'), hasEnded])) as [Buffer | number | null];
  if (!(line instanceof Buffer)) throw new Error(`${start} could not start a server: exit code ${String(line)}`);
  return {
    standing: JSON.parse(String(line)) as Standing,
    async end() {
      keeper.stdin.end();
      await hasEnded;
    },
  };
}
