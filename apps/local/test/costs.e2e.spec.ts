/**
 * A guard that costs no time: what a running house spends on a task and on standing still, counted in statements, rows and
 * messages instead of seconds, against the numbers of `docs/costs.md`. Batches grow with the load, so these are upper bounds; what
 * a single transition and a bind cost is exact and stands in the specs of the state machine and the api, whose numbers the page
 * repeats.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection, Tool } from '@jobmon/client';
import { startHouse, type House } from '@jobmon/local';
import { createLogger, loadConfig } from '@jobmon/runtime';
import { describeOnDatabaseKinds } from '@jobmon/testkit';

const TASKS = 500;
const IDLE_SECONDS = 12;

/** Upper bounds, as `docs/costs.md` gives them. */
const COSTS = costsOf(readFileSync(path.resolve(__dirname, '../../../docs/costs.md'), 'utf8'));

interface Spent {
  statements: number;
  rows_read: number;
  rows_written: number;
  messages: number;
  bytes: number;
}

/** The table's rows by their first cell; the other cells are numbers in the order of `Spent`. */
function costsOf(page: string): Record<string, Spent> {
  const rows = page.split('\n').filter((line) => /^\| (a task of|an idle minute)/.test(line));
  return Object.fromEntries(
    rows.map((line) => {
      const [name = '', ...cells] = line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim());
      const [statements, rows_read, rows_written, messages, bytes] = cells.map(Number) as [
        number,
        number,
        number,
        number,
        number,
      ];
      return [name, { statements, rows_read, rows_written, messages, bytes }];
    }),
  );
}

function spentBy(house: House): Spent {
  const { statements, rows_read, rows_written } = house.database.counts;
  return { statements, rows_read, rows_written, ...house.messenger.counts };
}

/** What was spent between two readings, divided by `parts`. */
function perPart(before: Spent, after: Spent, parts: number): Spent {
  const names = Object.keys(before) as (keyof Spent)[];
  return Object.fromEntries(names.map((name) => [name, (after[name] - before[name]) / parts])) as unknown as Spent;
}

function expectWithin(name: string, spent: Spent): void {
  const bound = COSTS[name];
  if (bound === undefined) throw new Error(`docs/costs.md has no row '${name}'`);
  const over = (Object.keys(bound) as (keyof Spent)[]).filter((what) => !(spent[what] <= bound[what]));
  const rounded = Object.fromEntries(Object.entries(spent).map(([what, value]) => [what, Math.round(value * 100) / 100]));
  if (process.env.JOBMON_TEST_RATES) console.log(name, rounded);
  expect({ name, over, spent: over.length > 0 ? rounded : {} }).toEqual({ name, over: [], spent: {} });
}

describeOnDatabaseKinds('what a running house costs', (kind) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'jobmon-costs-'));
  let house: House;
  let remove: () => Promise<void>;

  beforeAll(async () => {
    const place = await kind.place();
    remove = place.remove;
    const env = { HOME: folder, XDG_DATA_HOME: path.join(folder, 'data'), XDG_CONFIG_HOME: path.join(folder, 'config') };
    const { config } = loadConfig({ env, overrides: { db: { url: place.url }, http: { port: 0 } } });
    const log = createLogger({ service: 'local', level: 'warn', destination: path.join(folder, 'house.log') });
    house = await startHouse({ config, log });
  }, 60_000);

  afterAll(async () => {
    await house?.stop();
    await remove?.();
    rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  it(`runs ${TASKS} tasks of two tiers within the bounds`, async () => {
    const tool = new Tool('costs', { connection: new Connection(house) });
    const template = tool.getTaskTemplate('step', 'true {tier} {position}');
    const workflow = tool.createWorkflow({ name: 'costs', defaultClusterName: 'dummy' });
    for (let position = 0; position < TASKS / 2; position += 1) {
      const first = template.createTask({ tier: 1, position });
      workflow.addTasks([first, template.createTask({ tier: 2, position }, { upstreams: [first] })]);
    }
    const before = spentBy(house);
    const result = await workflow.run({ workingDirectory: folder, onProgress: () => undefined });
    expect(result.isDone).toBe(true);
    expectWithin('a task of 500', perPart(before, spentBy(house), TASKS));
  }, 120_000);

  it('spends little on standing still', async () => {
    const before = spentBy(house);
    // The one thing to wait for here is time itself: nothing is to happen in it.
    await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1_000));
    const what = kind.name === 'sqlite' ? 'an idle minute' : 'an idle minute on a server';
    expectWithin(what, perPart(before, spentBy(house), IDLE_SECONDS / 60));
  }, 60_000);
});
