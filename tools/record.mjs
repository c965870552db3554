// `node tools/record.mjs`: records `jobmon run` and `jobmon workflow watch` as docs/run-and-watch.svg. The real commands run in a
// pseudo-terminal (`script` of util-linux) against a house of their own; what they write passes a small terminal here, and each change of
// its screen becomes a moment of the picture. Nothing of this machine is in it: the house lives in a folder that is named `~`.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const MAIN = join(ROOT, 'dist', 'apps', 'cli', 'main.js');
const PICTURE = join(ROOT, 'docs', 'run-and-watch.svg');
const COLUMNS = 88;
const ROWS = 26;
/** A moment is shown at least and at most so long, in seconds; the last one longer. */
const MOMENT_MIN = 0.25;
const MOMENT_MAX = 1.5;
const LAST = 6;

const WORKFLOW = `tool: forecast
name: nightly forecast
cluster: multiprocess
tasks:
  fetch:
    command: sleep 0.2; echo {station} > {station}.obs
    matrix: { station: [north, east, south, west] }
  fit:
    command: |-
      sleep 0.3
      if test {member} != 7; then exit 0; fi
      if test -e terrain; then exec sleep 3; fi
      echo "FileNotFoundError - no terrain of {station}" >&2
      exit 3
    matrix: { station: [north, east, south, west], member: { from: 1, to: 8 } }
    needs: fetch
    max_attempts: 2
  report:
    command: cat *.obs > report.txt
    needs: { task: fit, match: all }
`;

const SESSION = `stty cols ${COLUMNS} rows ${ROWS}
jobmon() { '${process.execPath}' '${MAIN}' "$@"; }
type() { printf '\\e[1m$ %s\\e[0m\\n' "$1"; sleep 0.7; eval "$1"; sleep 1.5; }
type 'jobmon run forecast.yaml'
type 'jobmon workflow errors 1 --group'
type 'touch terrain; jobmon workflow retry 1 --reason "the terrain is there now"'
type 'jobmon workflow watch 1'
`;

/** The screen of a terminal: rows of cells, each with its character and its style. Knows what our commands write, and nothing else. */
class Terminal {
  rows = Array.from({ length: ROWS }, () => []);
  row = 0;
  column = 0;
  style = '';

  take(text) {
    for (const [part, , values, command] of text.matchAll(/(\x1b\[\??([\d;]*)([A-Za-z]))|[^\x1b]/gu)) {
      if (command === 'm') this.style = values === '0' || values === '' ? '' : values;
      else if (command === 'A') this.row = Math.max(0, this.row - Number(values || 1));
      else if (command === 'K') this.rows[this.row].length = Math.min(this.rows[this.row].length, this.column);
      else if (command === 'J') {
        this.rows[this.row].length = Math.min(this.rows[this.row].length, this.column);
        for (let below = this.row + 1; below < ROWS; below++) this.rows[below] = [];
      } else if (command !== undefined) continue;
      else if (part === '\r') this.column = 0;
      else if (part === '\n') this.down();
      else {
        if (this.column === COLUMNS) {
          this.column = 0;
          this.down();
        }
        const row = this.rows[this.row];
        while (row.length < this.column) row.push({ text: ' ', style: '' });
        row[this.column++] = { text: part, style: this.style };
      }
    }
  }

  down() {
    if (this.row < ROWS - 1) this.row += 1;
    else this.rows = [...this.rows.slice(1), []];
  }

  /** Each row as one text: equal rows are drawn once. */
  shown() {
    return this.rows.map((row) => spansOf(row));
  }
}

const FILLS = { 1: '#ffffff', 31: '#ff7b72', 32: '#7ee787', 33: '#e3b341', 34: '#79c0ff', 35: '#d2a8ff', 90: '#484f58' };
/** Blanks as such that do not shrink: viewers differ in what they keep of the others. */
const escaped = (text) => text.replace(/[&<> ]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', ' ': '\u00a0' })[sign]);

function spansOf(row) {
  const spans = [];
  for (const { text, style } of row) {
    if (spans.at(-1)?.style === style) spans.at(-1).text += text;
    else spans.push({ text, style });
  }
  return spans
    .map(({ text, style }) =>
      style === '' ? escaped(text) : `<tspan fill="${FILLS[style] ?? '#c9d1d9'}">${escaped(text)}</tspan>`,
    )
    .join('')
    .replace(/\u00a0+$/, '');
}

/** Runs the session and answers the moments: what the screen showed, and for how long. */
async function record(folder, env) {
  writeFileSync(join(folder, 'forecast.yaml'), WORKFLOW);
  writeFileSync(join(folder, 'session.sh'), SESSION);
  const child = spawn('script', ['-qfec', 'bash session.sh', '/dev/null'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const terminal = new Terminal();
  const moments = [];
  let began = performance.now();
  let last = terminal.shown();
  const look = (isLast) => {
    const shown = terminal.shown();
    if (!isLast && shown.join('\n') === last.join('\n')) return;
    const now = performance.now();
    const seconds = (now - began) / 1_000;
    // What stood too shortly to be seen is left out.
    if (seconds >= MOMENT_MIN || isLast) {
      moments.push({ rows: last, seconds: Math.min(MOMENT_MAX, seconds) });
      began = now;
    }
    last = shown;
  };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    terminal.take(text.replaceAll(folder, '~'));
    look(false);
  });
  await new Promise((done, fail) => child.on('error', fail).on('close', done));
  look(true);
  return [...moments, { rows: last, seconds: LAST }];
}

/** A picture that plays the moments again and again; what cannot play shows the last one. */
function pictureOf(moments) {
  const [charWidth, lineHeight] = [7.83, 18];
  const [width, height] = [Math.ceil(COLUMNS * charWidth) + 40, ROWS * lineHeight + 32];
  const total = moments.reduce((sum, { seconds }) => sum + seconds, 0);
  const lines = [];
  for (let row = 0; row < ROWS; row++) {
    let at = 0;
    for (let from = 0; from < moments.length;) {
      const text = moments[from].rows[row] ?? '';
      let to = from;
      let seconds = 0;
      while (to < moments.length && (moments[to].rows[row] ?? '') === text) seconds += moments[to++].seconds;
      if (text !== '') lines.push(lineOf(text, 20, 32 + row * lineHeight, at, seconds, to === moments.length));
      at += seconds;
      from = to;
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="A terminal: jobmon run follows a workflow whose tasks fail, errors are shown in groups, failed tasks are retried, and jobmon workflow watch follows it to its end">
<rect width="100%" height="100%" rx="8" fill="#0d1117"><animate id="loop" attributeName="x" from="0" to="0" begin="0s;loop.end" dur="${total.toFixed(2)}s"/></rect>
<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" fill="#c9d1d9">
${lines.join('\n')}
</g>
</svg>
`;
}

function lineOf(text, x, y, at, seconds, isLast) {
  const open = `<text x="${x}" y="${y}"`;
  if (isLast && at === 0) return `${open}>${text}</text>`;
  if (isLast)
    return `${open}>${text}<set attributeName="visibility" to="hidden" begin="loop.begin" dur="${at.toFixed(2)}s"/></text>`;
  const begin = `loop.begin+${at.toFixed(2)}s`;
  return `${open} visibility="hidden">${text}<set attributeName="visibility" to="visible" begin="${begin}" dur="${seconds.toFixed(2)}s"/></text>`;
}

const built = spawnSync(process.execPath, [join(ROOT, 'tools', 'build.mjs')], { stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
const home = mkdtempSync(join(tmpdir(), 'jobmon-record-'));
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(JOBMON_|XDG_|npm_|NO_COLOR)/.test(name)));
Object.assign(env, { HOME: home, USER: 'ada', LOGNAME: 'ada', LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', TERM: 'xterm-256color' });
const folder = join(home, 'forecast');
mkdirSync(folder);
const house = spawn(process.execPath, [MAIN, 'serve', '--port', '0'], { cwd: home, env, stdio: ['ignore', 'ignore', 'pipe'] });
try {
  let said = '';
  await new Promise((done, fail) => {
    house.on('exit', () => fail(new Error('the house did not start')));
    house.stderr.on('data', (text) => (said += text).includes('serves at') && done());
  });
  const moments = await record(folder, env);
  writeFileSync(PICTURE, pictureOf(moments));
  console.log(`written: docs/run-and-watch.svg, ${moments.length} moments`);
  console.log(
    moments
      .at(-1)
      .rows.map((row) => row.replace(/<[^>]*>/g, ''))
      .join('\n'),
  );
} finally {
  house.removeAllListeners('exit');
  house.kill('SIGINT');
  await new Promise((done) => house.on('exit', done));
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
}
