/** What every cluster plug-in must do. Each plug-in's spec calls this; what only real processes can show stands in `commands.spec.ts`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Assignment, AttemptReport } from '@jobmon/contracts';
import type { Cluster, ClusterSettings } from './cluster';
import { openCluster } from './plug-ins';

const ENDS = ['D', 'E', 'Z', 'U', 'W'];

/** A plug-in in folders of its own, with everything that it reported. */
export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'jobmon-cluster-'));
  readonly reports: AttemptReport[] = [];
  private readonly listeners = new Set<() => void>();
  private opened: Cluster[] = [];

  get settings(): ClusterSettings {
    return {
      state_directory: join(this.folder, 'state'),
      cores: 4,
      memory_gib: 8,
      onReport: (report) => {
        this.reports.push(report);
        for (const listener of this.listeners) listener();
      },
    };
  }

  open(type: string, settings: Partial<ClusterSettings> = {}): Cluster {
    const cluster = openCluster(type, { ...this.settings, ...settings });
    this.opened.push(cluster);
    return cluster;
  }

  assignment(task_instance_id: number, command = 'true', more: Partial<Assignment> = {}): Assignment {
    return {
      task_instance_id,
      task_id: task_instance_id + 1_000,
      workflow_id: 7,
      workflow_run_id: 8,
      status: 'I',
      task_name: 'task',
      command,
      cluster: 'local',
      cluster_type: 'multiprocess',
      requested_resources: {},
      working_directory: this.folder,
      ...more,
    };
  }

  /** Resolves when a report fits; rejects after `bound_ms` with what was reported. */
  until(fits: (report: AttemptReport) => boolean, bound_ms = 20_000): Promise<AttemptReport> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = this.reports.find(fits);
        if (found === undefined) return;
        clearTimeout(timer);
        this.listeners.delete(check);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.listeners.delete(check);
        reject(new Error(`not reported in ${bound_ms} ms; reported: ${JSON.stringify(this.reports).slice(0, 2_000)}`));
      }, bound_ms);
      this.listeners.add(check);
      check();
    });
  }

  /** The report that ends an attempt. */
  end(task_instance_id: number, bound_ms?: number): Promise<AttemptReport> {
    return this.until((report) => report.task_instance_id === task_instance_id && ENDS.includes(report.status), bound_ms);
  }

  running(task_instance_id: number): Promise<AttemptReport> {
    return this.until((report) => report.task_instance_id === task_instance_id && report.status === 'R');
  }

  close(): void {
    for (const cluster of this.opened) cluster.close();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

export function describeCluster(type: string): void {
  describe(`cluster plug-in ${type}`, () => {
    let bench: Bench;
    beforeEach(() => void (bench = new Bench()));
    afterEach(() => bench.close());

    it('names its type and has room at first', () => {
      const cluster = bench.open(type);
      expect(cluster.type).toBe(type);
      expect(cluster.room()).toEqual(cluster.size);
      expect(Math.min(...Object.values(cluster.size))).toBeGreaterThan(0);
    });

    it('tells nothing inside start, and then one end for each attempt, after at most one R', async () => {
      const cluster = bench.open(type);
      const ids = [1, 2, 3, 4, 5, 6, 7, 8];
      for (const id of ids) cluster.start(bench.assignment(id));
      expect(bench.reports).toEqual([]);
      for (const id of ids) {
        expect(await bench.end(id)).toMatchObject({ status: 'D', exit_code: 0 });
        const statuses = bench.reports.filter((report) => report.task_instance_id === id).map((report) => report.status);
        expect(['D', 'R,D']).toContain(statuses.join());
      }
    });

    it('counts what it holds, takes more than it has room for, and has all its room again in the end', async () => {
      const cluster = bench.open(type);
      const room = cluster.room().slots;
      cluster.start(bench.assignment(1));
      expect(cluster.room().slots).toBe(room - 1);
      for (let id = 2; id <= room + 3; id++) cluster.start(bench.assignment(id));
      expect(cluster.room().slots).toBe(0);
      for (let id = 1; id <= room + 3; id++) await bench.end(id);
      expect(cluster.room()).toEqual(cluster.size);
    });

    it('runs what asks for more than all of it, and what asks for no amount', async () => {
      const cluster = bench.open(type);
      const asked = [
        { cores: 100_000, memory: 1_000_000, runtime: 1e8 },
        { cores: 'many', memory: -1, runtime: '1h' },
        { cores: 0, memory: null, runtime: true },
      ];
      for (const [at, requested_resources] of asked.entries()) {
        cluster.start(bench.assignment(at + 1, 'sleep 0.3', { requested_resources }));
      }
      for (const at of asked.keys()) expect(await bench.end(at + 1)).toMatchObject({ status: 'D' });
      expect(cluster.room()).toEqual(cluster.size);
    });

    it('starts an attempt once, however often it is given', async () => {
      const cluster = bench.open(type);
      const assignment = bench.assignment(1, 'echo x >>counted');
      cluster.start(assignment);
      cluster.start(assignment);
      cluster.adopt(assignment);
      await bench.end(1);
      cluster.start(bench.assignment(2));
      await bench.end(2);
      expect(bench.reports.filter((report) => report.task_instance_id === 1 && report.status === 'D')).toHaveLength(1);
    });

    it('adopts an attempt that was never started by starting it', async () => {
      bench.open(type).adopt(bench.assignment(1));
      expect(await bench.end(1)).toMatchObject({ status: 'D' });
    });

    it('reports an end of what is killed before it starts, and of nothing else', async () => {
      const cluster = bench.open(type);
      cluster.start(bench.assignment(1));
      cluster.kill(1);
      cluster.kill(99);
      expect(await bench.end(1)).toMatchObject({ status: 'E' });
      cluster.start(bench.assignment(2));
      await bench.end(2);
      expect(bench.reports.map((report) => report.task_instance_id)).not.toContain(99);
    });

    it('forgets without complaint what it never had', () => {
      expect(() => bench.open(type).forget(99)).not.toThrow();
    });

    it('reports nothing after it was closed', async () => {
      const cluster = bench.open(type);
      cluster.start(bench.assignment(1));
      cluster.close();
      cluster.close();
      const other = bench.open(type, { state_directory: join(bench.folder, 'other') });
      other.start(bench.assignment(2));
      await bench.end(2);
      expect(bench.reports.map((report) => report.task_instance_id)).not.toContain(1);
    });
  });
}
