/**
 * The published Python clients, unmodified, against a house: what they do ends as it should, each command runs as often as it may, and
 * every answer is 200 but those that a story names with its reason. The stories of one house are played side by side.
 */
import { buildHouse, describeOnDatabaseKinds, pythonPrograms, summaryOf } from '@jobmon/testkit';
import { NATIVE_STORIES } from './python/native';
import { Stage } from './python/stage';
import { storiesWith } from './python/stories';

/** Stories at one time: most of their time they wait for a client's next heartbeat. */
const AT_ONCE = 4;
/** Stories bound themselves; a test also waits for those that are played before its own. */
const STORY_MS_MAX = 900_000;
/** Tasks on multiprocess, each a process that takes a second of a core to start; 1,000 are tried by `npm run conformance`. */
const MANY = 61;

const python = pythonPrograms();

if ('missing' in python) {
  const title = `Python clients: ${python.missing}`;
  if (process.env.CI === 'true') {
    it(title, () => {
      throw new Error(`${python.missing} In CI these tests must run.`);
    });
  } else it.skip(title, () => undefined); // reason: it is the title
} else {
  describeOnDatabaseKinds('Python clients', (kind) => {
    let stage: Stage;
    const stories = [...storiesWith(MANY), ...NATIVE_STORIES];
    let plays: ReadonlyMap<string, Promise<void>>;

    beforeAll(async () => {
      buildHouse();
      stage = await Stage.open(kind, python.folder);
      plays = stage.playAll(stories, AT_ONCE);
    }, 120_000);

    afterAll(async () => {
      const summary = summaryOf([...stage.played.values()].flatMap(({ exchanges }) => exchanges));
      const lines = summary.map(({ operation, requests, not_200 }) => `${operation}: ${requests} ${JSON.stringify(not_200)}`);
      console.log(`Requests of the Python clients (${kind.name}):\n${lines.join('\n')}`);
      await stage.close();
    }, 60_000);

    for (const { title } of stories) it(title, async () => plays.get(title), STORY_MS_MAX);
  });
}
