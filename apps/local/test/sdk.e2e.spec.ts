/**
 * The SDK as people have it: packed, installed where nothing else is, compiled and run as an ES module and as CommonJS; and its stories of
 * runs that fail, are resumed, watched over and stopped. One house for all.
 */
import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { openWorkflow, Tool, type Connection, type Task, type WorkflowRun } from '@jobmon/client';
import { buildHouse, HouseProcess, ROOT, until, UserFolder } from '@jobmon/testkit';
import { buildSync } from 'esbuild';

const run = promisify(execFile);
const SOURCES = path.join(ROOT, 'apps', 'local', 'test', 'package');

let user: UserFolder;
let house: HouseProcess;
let connection: Connection;
beforeAll(async () => {
  buildHouse();
  user = new UserFolder();
  house = await HouseProcess.start(user);
  connection = house.connection();
}, 120_000);
afterAll(async () => {
  await house.end('SIGTERM');
  await user.remove();
}, 60_000);

describe('the package', () => {
  let folder: string;
  const installed = (...parts: string[]): string => path.join(folder, 'node_modules', ...parts);
  const filesOf = (place: string): string[] =>
    readdirSync(place, { recursive: true, withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [path.join(entry.parentPath ?? entry.path, entry.name)] : [],
    );

  beforeAll(async () => {
    folder = user.folder('empty');
    const tarballs = user.folder('tarballs');
    // What it depends on comes from here, so that no registry need be reached.
    const dependencies = ['zod', 'yaml'].map((name) => path.join(ROOT, 'node_modules', name));
    const [client] = await Promise.all([
      run(process.execPath, [path.join(ROOT, 'tools', 'pack.mjs'), tarballs]),
      run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', tarballs, ...dependencies], { cwd: tarballs }),
    ]);
    expect(existsSync(client.stdout.trim())).toBe(true);
    const files = readdirSync(tarballs).flatMap((name) => (name.endsWith('.tgz') ? [path.join(tarballs, name)] : []));
    expect(files).toHaveLength(3);
    writeFileSync(path.join(folder, 'package.json'), '{ "private": true }');
    await run('npm', ['install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts', ...files], { cwd: folder });
  }, 180_000);

  it('holds nothing but itself and needs nothing but a schema checker and a YAML reader', () => {
    expect(readdirSync(installed()).filter((name) => !name.startsWith('.'))).toEqual(['@jobmon', 'yaml', 'zod']);
    const files = filesOf(installed('@jobmon', 'client'));
    expect(files.length).toBeGreaterThan(100);
    const foreign =
      /['"](typeorm|@nestjs\/|better-sqlite3|mysql2|fastify|pino|rxjs|reflect-metadata|@jobmon\/(entities|runtime|messaging))/;
    expect(files.filter((file) => /\.(js|d\.ts)$/.test(file) && foreign.test(readFileSync(file, 'utf8')))).toEqual([]);
    expect(files.filter((file) => /spec|fixture|\.map$/.test(path.basename(file)))).toEqual([]);
  });

  it('compiles what must compile, refuses what must not, and runs as ES module and as CommonJS', async () => {
    for (const name of ['program.mts', 'refused.mts']) copyFileSync(path.join(SOURCES, name), path.join(folder, name));
    copyFileSync(path.join(SOURCES, 'program.mts'), path.join(folder, 'program.cts'));
    const compilerOptions = {
      strict: true,
      target: 'es2022',
      module: 'node16',
      // A declaration of ours that is wrong makes `any` of what it declares, and then nothing is refused any more.
      skipLibCheck: true,
      types: ['node'],
      typeRoots: [path.join(ROOT, 'node_modules', '@types')],
    };
    const files = ['program.mts', 'program.cts', 'refused.mts'];
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
    const tsc = path.join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    await run(process.execPath, [tsc, '-p', folder]).catch((error: { stdout: string }) => {
      throw new Error(error.stdout);
    });
    const ends = await Promise.all(
      ['program.mjs', 'program.cjs'].map((program) => run(process.execPath, [program], { cwd: folder, env: user.env })),
    );
    for (const { stdout } of ends) {
      expect(JSON.parse(stdout)).toEqual({ status: 'DONE', done: 6, rule: 'edge_outside', name: 'packed' });
    }
  }, 180_000);

  it('lets bundlers leave out what is not used', () => {
    /** What a program loads when it starts; what it may load later is a file of its own. */
    const bundle = (source: string) => {
      const { outputs } = buildSync({
        stdin: { contents: source, resolveDir: folder },
        outdir: folder,
        bundle: true,
        splitting: true,
        minify: true,
        write: false,
        metafile: true,
        platform: 'node',
        format: 'esm',
      }).metafile;
      const loaded = Object.keys(outputs).filter((name) => outputs[name]!.entryPoint === '<stdin>');
      for (const name of loaded) {
        for (const { path: other, kind } of outputs[name]!.imports) {
          if (kind === 'import-statement' && other in outputs && !loaded.includes(other)) loaded.push(other);
        }
      }
      const used = loaded.flatMap((name) =>
        Object.entries(outputs[name]!.inputs).flatMap(([input, { bytesInOutput }]) => (bytesInOutput > 0 ? [input] : [])),
      );
      return { bytes: loaded.reduce((sum, name) => sum + outputs[name]!.bytes, 0), used };
    };
    const one = bundle(`import { memoryGib } from '@jobmon/client'; console.log(memoryGib('256M'));`);
    expect(one.bytes).toBeGreaterThan(100);
    expect(one.bytes).toBeLessThan(4_096);
    const sdk = bundle(`import { Tool } from '@jobmon/client'; console.log(new Tool('x'));`);
    expect(sdk.used.filter((name) => /node_modules\/yaml|contracts\/v3\/(?!service)|workflow-file/.test(name))).toEqual([]);
  });
});

describe('a workflow', () => {
  let made = 0;
  /** A template whose tasks fail until the file `mended` lies in their folder, if their argument says so. */
  function failing(name: string) {
    made += 1;
    const folder = user.folder(`sdk-${made}`);
    const tool = new Tool(`sdk ${name}`, { connection, defaultClusterName: 'multiprocess', defaultMaxAttempts: 1 });
    const build = (workflowArgs?: string) => {
      const template = tool.getTaskTemplate(
        'step',
        'echo {n} >> ran; test {ending} = ok || test -e mended || {{ echo no {n} >&2; exit 3; }}',
        {
          taskArgs: ['ending'],
        },
      );
      const workflow = tool.createWorkflow({ name, workflowArgs });
      const [good, bad] = ['ok', 'mended'].map((ending, n) => workflow.addTask(template.createTask({ n, ending })));
      const last = workflow.addTask(template.createTask({ n: 2, ending: 'ok' }, { upstreams: [good!, bad!] }));
      return { workflow, template, good: good!, bad: bad!, last };
    };
    const ran = (): string[] => readFileSync(path.join(folder, 'ran'), 'utf8').trim().split('\n').sort();
    return { folder, tool, build, ran, mend: () => writeFileSync(path.join(folder, 'mended'), '') };
  }

  it('that failed tells its errors, is refused a second time, and is resumed by another program: what was done stays done', async () => {
    const story = failing('resumed');
    const first = story.build('v1');
    const result = await first.workflow.run({ workingDirectory: story.folder });
    expect(result).toMatchObject({
      status: 'FAILED',
      isDone: false,
      previouslyDone: 0,
      counts: { done: 1, fatal: 1, pending: 1 },
    });
    const states = ({ good, bad, last }: { good: Task; bad: Task; last: Task }, when: 'initialStatus' | 'finalStatus') =>
      [good, bad, last].map((task) => task[when]);
    expect(states(first, 'initialStatus')).toEqual(['REGISTERING', 'REGISTERING', 'REGISTERING']);
    expect(states(first, 'finalStatus')).toEqual(['DONE', 'ERROR_FATAL', 'REGISTERING']);
    const errors = await first.workflow.getErrors();
    expect([...errors.keys()]).toEqual([first.bad.taskId]);
    expect(errors.get(first.bad.taskId!)![0]!.description).toContain('exit status 3');
    expect(await first.bad.getErrors()).toEqual(errors.get(first.bad.taskId!));

    const second = story.build('v1');
    await expect(second.workflow.run({ workingDirectory: story.folder })).rejects.toThrow(
      `workflow ${result.workflowId} is the same and is FAILED already: resume it, or give other workflow arguments`,
    );
    story.mend();
    // What it asks for is raised in the program; the attempt of the resumed run asks for it.
    second.bad.updateComputeResources({ memory: '128M' });
    const resumed = await second.workflow.resume({ workingDirectory: story.folder });
    expect(resumed).toMatchObject({ workflowId: result.workflowId, status: 'DONE', isDone: true, previouslyDone: 1 });
    expect(resumed.workflowRunId).toBeGreaterThan(result.workflowRunId!);
    expect(states(second, 'initialStatus')).toEqual(['DONE', 'ERROR_FATAL', 'REGISTERING']);
    expect(states(second, 'finalStatus')).toEqual(['DONE', 'DONE', 'DONE']);
    expect(story.ran()).toEqual(['0', '1', '1', '2']);
    expect(await second.bad.resourceUsage()).toMatchObject({ attempts: 1, requested: { memory: 0.125 } });
    expect((await second.template.resourceUsage({ workflowIds: [result.workflowId], nodeArgs: { n: [0, 2] } })).attempts).toBe(2);

    await expect(story.build('v1').workflow.resume()).rejects.toThrow(`workflow ${result.workflowId} is DONE`);
    await expect(story.build('v1').workflow.run()).rejects.toThrow('is the same and is DONE already');
  });

  it('is resumed by the program that ran it, with resources raised for a template', async () => {
    const story = failing('raised');
    const { workflow, bad } = story.build();
    expect((await workflow.run({ workingDirectory: story.folder })).isDone).toBe(false);
    story.mend();
    bad.updateComputeResources({ memory: 0.125 });
    const resources = [{ taskTemplate: 'step', set: { runtime: '2m' }, times: { memory: 2 } }];
    expect((await workflow.resume({ workingDirectory: story.folder, resources })).isDone).toBe(true);
    expect((await bad.resourceUsage())!.requested).toMatchObject({ memory: 0.25, runtime: 120 });
  });

  it('is of the tool’s version: a new one makes a new workflow, an unknown one is refused with those that there are', async () => {
    const tool = new Tool('versions', { connection, defaultClusterName: 'dummy' });
    const bind = () => {
      const workflow = tool.createWorkflow({ workflowArgs: 'same' });
      workflow.addTask(tool.getTaskTemplate('t', 'x').createTask());
      return workflow.bind();
    };
    const first = await tool.register();
    const workflows = [await bind(), await bind()];
    expect(workflows[1]).toBe(workflows[0]);
    const second = await tool.getNewToolVersion();
    expect(second).toBeGreaterThan(first);
    expect(await bind()).not.toBe(workflows[0]);
    await tool.setActiveToolVersionId(first);
    expect(await bind()).toBe(workflows[0]);
    await expect(tool.setActiveToolVersionId(2_000_000)).rejects.toThrow(
      `tool 'versions' has no version 2000000; it has ${first}, ${second}`,
    );
    expect(tool.activeToolVersionId).toBe(first);
    const lost = new Tool('versions', { connection, activeToolVersionId: 2_000_000 });
    await expect(lost.register()).rejects.toThrow('has no version 2000000');
    expect(await new Tool('versions', { connection }).register()).toBe(second);
  });

  it('is bound with its limits and priority, and is refused by what queues give, unless that is to be cut', async () => {
    const tool = new Tool('limits', { connection, defaultClusterName: 'multiprocess' });
    const template = tool.getTaskTemplate('t', 'echo {a}');
    const workflow = tool.createWorkflow({ priority: 7, maxConcurrentlyRunning: 5, workflowAttributes: { kind: 'test' } });
    workflow.addTasks(template.createTasks({ a: [1, 2] }, { maxConcurrentlyRunning: 2, computeResources: { cores: 900 } }));
    await expect(workflow.bind()).rejects.toThrow(/queue 'null.q' of cluster 'multiprocess' gives cores from 1 to \d+, not 900/);
    expect(workflow.workflowId).toBeUndefined();
    await workflow.bind({ strict: false });
    await workflow.addAttributes({ more: 'later' });
    const rows = user.rows(
      `SELECT w.max_concurrently_running AS most, a.max_concurrently_running AS of_template,
              (SELECT COUNT(*) FROM workflow_attribute wa WHERE wa.workflow_id = w.id) AS attributes,
              (SELECT GROUP_CONCAT(DISTINCT tr.requested_resources) FROM task t JOIN task_resources tr ON tr.id = t.task_resources_id
                WHERE t.workflow_id = w.id) AS requested
         FROM workflow w JOIN array a ON a.workflow_id = w.id WHERE w.id = ?`,
      workflow.workflowId!,
    );
    expect(rows).toEqual([{ most: 5, of_template: 2, attributes: 2, requested: expect.stringMatching(/^\{"cores":\d\d?\}$/) }]);
    expect(() => workflow.addTask(template.createTask({ a: 3 }))).toThrow('the workflow is bound');
  });

  describe('that runs', () => {
    async function held(name: string): Promise<{ run: WorkflowRun; release: () => void; folder: string }> {
      const folder = user.folder(name);
      const tool = new Tool('held', { connection, defaultClusterName: 'multiprocess' });
      const template = tool.getTaskTemplate('held', 'until test -e released; do sleep 0.05; done; echo {a}');
      const workflow = tool.createWorkflow({ name, maxConcurrentlyRunning: 1 });
      workflow.addTasks(template.createTasks({ a: [1, 2] }));
      const submitted = await workflow.submit({ workingDirectory: folder });
      const running = async (): Promise<boolean> => [...(await submitted.taskStatuses()).values()].includes('RUNNING');
      await until('a task runs', running);
      return { run: submitted, folder, release: () => writeFileSync(path.join(folder, 'released'), '') };
    }

    it('is paused, limited, put first and resumed by whoever opens it; each is in its history', async () => {
      const { run: own, release } = await held('paused');
      const opened = await openWorkflow(own.workflowId, { connection });
      expect(await opened.pause({ reason: 'lunch' })).toMatchObject({ isPaused: true, isChanged: true, status: 'RUNNING' });
      expect(await opened.pause()).toMatchObject({ isPaused: true, isChanged: false });
      await opened.setPriority(3);
      await opened.setLimits({ maxConcurrentlyRunning: null, taskTemplates: { held: 4 } });
      await expect(opened.setLimits({ taskTemplates: { hold: 4 } })).rejects.toThrow('held');
      expect(await opened.resume()).toMatchObject({ isPaused: false, workflowRunId: own.workflowRunId });
      release();
      expect(await own.wait()).toMatchObject({ status: 'DONE', counts: { done: 2 } });
      const events = (await opened.history()).map(({ verb, reason }) => [verb, reason]);
      expect(events).toEqual([
        ['resume', ''],
        ['set_limits', ''],
        ['set_priority', ''],
        ['pause', 'lunch'],
      ]);
      await expect(opened.resume()).rejects.toThrow('DONE');
    });

    it('is drained, and goes on; is cancelled, and chosen tasks run again', async () => {
      const { run: own, release, folder } = await held('drained');
      expect(await own.drain()).toMatchObject({ isPending: true });
      release();
      expect(await own.wait()).toMatchObject({ status: 'HALTED', counts: { done: 1, pending: 1 } });
      execFileSync('rm', [path.join(folder, 'released')]);
      await own.resume({ mode: 'hot' });
      await until('the second runs', async () => [...(await own.taskStatuses()).values()].includes('RUNNING'));
      await own.cancel();
      expect(await own.wait()).toMatchObject({ status: 'HALTED', counts: { done: 1 } });
      release();
      await own.resume();
      expect((await own.wait()).isDone).toBe(true);
    }, 60_000);
  });

  it('with failFast is drained at the first failure', async () => {
    const folder = user.folder('fail-fast');
    const tool = new Tool('fail fast', { connection, defaultClusterName: 'multiprocess', defaultMaxAttempts: 1 });
    const template = tool.getTaskTemplate('t', 'test {n} != 0 || exit 3; sleep 0.2');
    const workflow = tool.createWorkflow({ maxConcurrentlyRunning: 1 });
    workflow.addTasks(template.createTasks({ n: Array.from({ length: 30 }, (_, n) => n) }));
    const result = await workflow.run({ workingDirectory: folder, failFast: true, onProgress: () => undefined });
    expect(result).toMatchObject({ status: 'HALTED', counts: { fatal: 1 } });
    expect(result.counts.pending).toBeGreaterThan(0);
  });
});
