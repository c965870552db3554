/** Waiting for what a process needs: as long as it takes, told once for each cause, and no longer than the process lives. */
import { JobmonError } from '@jobmon/contracts';
import { createLogger } from './logging';
import { waitFor, type Need } from './need';

const away = (cause: string): JobmonError => new JobmonError('UNAVAILABLE', cause);

/** A need whose tries end like these, one after the other; the last one again and again. */
function need(...tries: readonly (string | Error)[]): Need<string> & { tried: number } {
  const made = {
    name: 'thing',
    tried: 0,
    open: async () => {
      const found = tries[Math.min(made.tried, tries.length - 1)]!;
      made.tried += 1;
      if (found instanceof Error) throw found;
      return found;
    },
    checks: {},
    close: async () => undefined,
  };
  return made;
}

function listener() {
  const lines: { level: string; message: string }[] = [];
  const write = (line: string): void => void lines.push(JSON.parse(line) as (typeof lines)[number]);
  return { lines, log: createLogger({ service: 'test', level: 'info', destination: { write } }) };
}

describe('waiting for a need', () => {
  it('tries again and again, and tells each cause once', async () => {
    const { lines, log } = listener();
    const failures: (string | null)[] = [];
    const wanted = need(away('nobody there'), away('nobody there'), away('wrong password'), 'it');
    const onTry = (failure: JobmonError | null): void => void failures.push(failure === null ? null : failure.message);
    expect(await waitFor(wanted, { log, signal: new AbortController().signal, onTry })).toBe('it');
    expect(failures).toEqual(['nobody there', 'nobody there', 'wrong password', null]);
    expect(lines.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      'warn: waits for the thing: nobody there',
      'warn: waits for the thing: wrong password',
      'info: the thing is there',
    ]);
  });

  it('gives up at once where waiting can not help', async () => {
    const { log } = listener();
    const foreign = need(new JobmonError('MALFORMED', 'the schema is another program’s'));
    await expect(waitFor(foreign, { log, signal: new AbortController().signal })).rejects.toThrow('another program');
    expect(foreign.tried).toBe(1);
    await expect(waitFor(need(new TypeError('a defect')), { log, signal: new AbortController().signal })).rejects.toThrow(
      TypeError,
    );
  });

  it('ends with the process', async () => {
    const { log } = listener();
    const stopping = new AbortController();
    const wanted = need(away('nobody there'));
    const waiting = waitFor(wanted, { log, signal: stopping.signal, onTry: () => stopping.abort() });
    await expect(waiting).rejects.toThrow();
    expect(wanted.tried).toBe(1);
  });
});
