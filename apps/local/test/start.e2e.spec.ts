/** What a start does with ports, files and databases as it finds them; whatever is wrong is one sentence, and nothing is half made. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import path from 'node:path';
import { findServer } from '@jobmon/client';
import SqliteHandle from 'better-sqlite3';
import { buildHouse, HouseProcess, MARIADB_URL_VARIABLE, UserFolder } from '@jobmon/testkit';

let user: UserFolder;
const houses: HouseProcess[] = [];
const start = async (...args: string[]): Promise<HouseProcess> => {
  const house = await HouseProcess.start(user, args);
  houses.push(house);
  return house;
};

beforeAll(buildHouse, 60_000);
beforeEach(() => {
  user = new UserFolder();
});
afterEach(async () => {
  for (const house of houses.splice(0)) await house.end('SIGKILL');
  await user.remove();
});

/** Starts a house that must refuse: exit code 1, one line on standard error, no profile. Answers the line. */
async function refusal(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const house = new HouseProcess(user, args, { env });
  houses.push(house);
  const code = await house.ended;
  const said = house.stderr.trimEnd().split('\n');
  expect([code, said.length, house.url]).toEqual([1, 1, undefined]);
  expect(said[0]).toMatch(/^Error: /);
  expect(existsSync(user.profileFile)).toBe(false);
  return said[0]!;
}

function listen(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
const portOf = (url: string | undefined): number => Number(new URL(url!).port);

describe('ports', () => {
  it('takes another port when 8070 is taken and none was given', async () => {
    // Null when somebody else listens there already, which serves as well.
    const occupant = await listen(8070);
    const house = await start();
    occupant?.close();
    const expected = 10_000 + (house.child.pid! % 30_000);
    expect(portOf(house.url)).toBeGreaterThanOrEqual(expected);
    expect(portOf(house.url)).toBeLessThan(expected + 20);
  });

  it('refuses a port that was given and is taken, and has made no database', async () => {
    const occupant = (await listen(0))!;
    const { port } = occupant.address() as { port: number };
    expect(await refusal(['--port', String(port)])).toContain(`port ${port} is in use`);
    expect(existsSync(user.databaseFile)).toBe(false);
    occupant.close();
  });

  it.each([1, 6000, 10_080])('refuses port %i, which no client would call', async (port) => {
    expect(await refusal(['--port', String(port)])).toContain('clients refuse to call it');
  });

  it('refuses to listen where others reach it, unless that is asked for', async () => {
    expect(await refusal(['--host', '0.0.0.0', '--port', '0'])).toContain('could run commands as this user');
    const house = await start('--host', '0.0.0.0', '--port', '0', '--open');
    expect((await fetch(`${house.url}/api/v3/`)).status).toBe(200);
  });

  it('refuses a setting that breaks a rule, naming where it came from', async () => {
    expect(await refusal([], { JOBMON__HTTP__PORT: 'abc' })).toMatch(/http\.port.*JOBMON__HTTP__PORT.*whole number/);
  });

  it.each([
    ['a log file', { JOBMON__LOG__FILE: '/sys' }, 'the log file /sys'],
    ['a log file below a folder that cannot be', { JOBMON__LOG__FILE: '/proc/nobody/here.log' }, 'the log file /proc/nobody'],
    ['a data folder', { XDG_DATA_HOME: '/proc/nobody/here' }, 'the database /proc/nobody/here'],
    ['a configuration folder', { XDG_CONFIG_HOME: '/proc/nobody/here', JOBMON__LOG__LEVEL: 'warn' }, 'the client profile /proc/'],
    ["an agent's folder", { JOBMON__AGENT__STATE_DIRECTORY: '/proc/nobody/here' }, "the agent's folder /proc/nobody/here"],
  ])('refuses %s that cannot be made, and ends', async (_what, env, sentence) => {
    expect(await refusal(['--port', '0'], env)).toContain(sentence);
  });

  it('refuses flags that would do nothing, or wait for what is left out', async () => {
    for (const args of [['--exit'], ['--demonstration', '--without', 'agent']]) {
      const house = new HouseProcess(user, args);
      expect(await house.ended).toBe(2);
      expect(house.stderr).toMatch(/^Error: (--exit needs|the demonstration needs)/);
    }
  });
});

describe('the client profile', () => {
  it("is the user's alone, leads to the house, and is recognised when its house was killed", async () => {
    const house = await start('--port', '0');
    expect(statSync(user.profileFile).mode & 0o777).toBe(0o600);
    expect(statSync(path.dirname(user.profileFile)).mode & 0o777).toBe(0o700);
    expect((await findServer({ env: user.env })).url).toBe(house.url);

    await house.end('SIGKILL');
    await expect(findServer({ env: user.env })).rejects.toThrow('is gone');
    const next = await start('--port', '0');
    expect((await findServer({ env: user.env })).url).toBe(next.url);
    expect(await next.end('SIGTERM')).toBe(0);
    expect(existsSync(user.profileFile)).toBe(false);
  }, 60_000);

  it('is taken over by a second house on another database, which says so, and stays with it', async () => {
    const first = await start('--port', '0');
    const second = await start('--port', '0', '--db', `sqlite:${user.path}/second.sqlite`);
    expect(second.stderr).toContain(`no longer the one at ${first.url}`);
    expect((await findServer({ env: user.env })).url).toBe(second.url);
    expect(await first.end('SIGTERM')).toBe(0);
    expect((await findServer({ env: user.env })).url).toBe(second.url);
  }, 60_000);

  it('is a reason not to start when it cannot be written', async () => {
    expect(await refusal(['--port', '0'], { XDG_CONFIG_HOME: '/sys/jobmon' })).toContain('the client profile /sys/jobmon');
  });
});

describe('the database', () => {
  it('is refused where nothing can be written', async () => {
    expect(await refusal(['--port', '0', '--db', 'sqlite:/sys/jobmon/jobmon.sqlite'])).toContain('/sys/jobmon/jobmon.sqlite');
  });

  it('is refused when it is a pipe', async () => {
    const pipe = path.join(user.path, 'pipe');
    spawnSync('mkfifo', [pipe]);
    expect(await refusal(['--port', '0', '--db', `sqlite:${pipe}`])).toContain('is a folder, a device or a pipe');
  });

  it.each([
    ['something else', Buffer.from('this is no database, it is a letter\n'.repeat(200))],
    ['a damaged database', Buffer.concat([Buffer.from('SQLite format 3\0'), Buffer.alloc(8_192, 0x5a)])],
  ])('is refused when its file holds %s, and the file is left as it was', async (what, content) => {
    mkdirSync(path.dirname(user.databaseFile), { recursive: true });
    writeFileSync(user.databaseFile, content);
    expect(await refusal(['--port', '0'])).toContain('is damaged or no SQLite database');
    expect(readFileSync(user.databaseFile).equals(content)).toBe(true);
    if (what === 'something else') expect(readdirSync(user.data)).toEqual(['jobmon.sqlite']);
  });

  it('is taken when a newer version has migrated it and allows this one, and refused when it does not', async () => {
    const house = await start('--port', '0');
    await house.end('SIGTERM');
    const change = (sql: string): void => {
      const handle = new SqliteHandle(user.databaseFile);
      handle.exec(sql);
      handle.close();
    };
    change("INSERT INTO migrations (timestamp, name) VALUES (9999999999999, 'Tomorrow9999999999999')");
    await (await start('--port', '0')).end('SIGTERM');
    change("UPDATE schema_rule SET needs_migration = 'Tomorrow9999999999999', oldest_release = '9.0.0'");
    expect(await refusal(['--port', '0'])).toMatch(/newer/);
  });

  it('is refused to a second house, and free again when the first was killed', async () => {
    const first = await start('--port', '0');
    const second = new HouseProcess(user);
    expect(await second.ended).toBe(1);
    expect(second.stderr).toContain('another Jobmon server uses the database');
    expect((await findServer({ env: user.env })).url).toBe(first.url);
    // The same file by another name.
    const link = path.join(user.path, 'link.sqlite');
    symlinkSync(user.databaseFile, link);
    const third = new HouseProcess(user, ['--port', '0', '--db', `sqlite:${link}`]);
    expect(await third.ended).toBe(1);
    expect(third.stderr).toContain('another Jobmon server uses the database');
    await first.end('SIGKILL');
    await start('--port', '0');
  }, 60_000);

  const server = process.env[MARIADB_URL_VARIABLE];
  (server ? it : it.skip)(
    `is refused with a wrong password${server ? '' : `: ${MARIADB_URL_VARIABLE} names no server`}`,
    async () => {
      const url = new URL(server!);
      url.password = 'wrong-password';
      url.pathname = '/jobmon_test_none';
      const said = await refusal(['--port', '0', '--db', url.toString()]);
      expect(said).toMatch(/password|refuse|denied/i);
      expect(said).not.toContain('wrong-password');
    },
  );
});
