/** Commands of `jobmon-server` run in the process of a test, one at a time. */
import { run } from '../src/program';

export interface Typed {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** What `jobmon-server` with these arguments writes and how it ends. */
export async function typed(...args: string[]): Promise<Typed> {
  let [out, err] = ['', ''];
  const spies = [
    jest.spyOn(process.stdout, 'write').mockImplementation((text) => ((out += String(text)), true)),
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => ((err += String(text)), true)),
  ];
  try {
    const code = await run(args);
    process.exitCode = undefined;
    return { code, out, err };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
