/** What is counted is documented, and counts of a process come out in the form that Prometheus reads. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { measureProcess, metrics, readMetrics } from './metrics';

it('lists every metric of ours in docs/services.md, with its labels', async () => {
  const page = readFileSync(join(__dirname, '..', '..', '..', 'docs', 'services.md'), 'utf8');
  const documented = new Set([...page.matchAll(/^\| `(jobmon_\w+)` /gm)].map(([, name]) => name));
  const counted = [...(await readMetrics()).text.matchAll(/^# HELP (\S+)/gm)].map(([, name]) => name);
  expect(counted.length).toBeGreaterThan(10);
  expect(counted.filter((name) => !documented.has(name))).toEqual([]);
  expect([...documented].filter((name) => !counted.includes(name))).toEqual([]);
});

it('counts by label, and measures the process when it is told to', async () => {
  metrics.transitions.inc({ from: 'R', to: 'D' }, 3);
  metrics.transitions.inc({ from: 'R', to: 'D' });
  measureProcess();
  measureProcess();
  const { text, content_type } = await readMetrics();
  expect(content_type).toMatch(/^text\/plain; version=0\.0\.4/);
  expect(text).toContain('jobmon_transitions_total{from="R",to="D"} 4\n');
  for (const name of [
    'jobmon_nodejs_eventloop_lag_seconds',
    'jobmon_nodejs_heap_size_used_bytes',
    'jobmon_process_cpu_seconds_total',
  ])
    expect(text).toMatch(new RegExp(`^${name} [0-9.e-]+$`, 'm'));
});
