import { PassThrough } from 'node:stream';
import { Screen } from './screen';

/** A terminal of so many columns that knows what is written to it here: text, line breaks, up, clear. Lines that are too long break. */
class Terminal {
  readonly stream = Object.assign(new PassThrough(), { columns: 40 });
  rows: string[] = [''];
  private row = 0;
  private column = 0;

  constructor() {
    this.stream.on('data', (data: Buffer) => this.take(data.toString('utf8')));
  }

  get shown(): string[] {
    return this.rows.map((row) => row.trimEnd());
  }

  /** As most terminals do when they become narrower: what stands is broken anew. */
  resize(columns: number): void {
    const broken = this.rows.flatMap((row) => row.match(new RegExp(`.{1,${columns}}`, 'g')) ?? ['']);
    this.row += broken.length - this.rows.length;
    this.rows = broken;
    this.stream.columns = columns;
  }

  private take(text: string): void {
    for (const [part, , count, command] of text.matchAll(/(\x1b\[\??(\d*)([A-Za-z]))|[^\x1b]/g)) {
      if (command === 'A') this.row = Math.max(0, this.row - Number(count));
      else if (command === 'K') this.rows[this.row] = this.rows[this.row]!.slice(0, this.column);
      else if (command === 'J') {
        this.rows[this.row] = this.rows[this.row]!.slice(0, this.column);
        this.rows.length = this.row + 1;
      } else if (part === '\r') this.column = 0;
      else if (part === '\n') [this.row, this.column] = [this.row + 1, 0];
      else if (command === undefined) {
        if (this.column === this.stream.columns) [this.row, this.column] = [this.row + 1, 0];
        const row = (this.rows[this.row] ??= '').padEnd(this.column);
        this.rows[this.row] = row.slice(0, this.column) + part + row.slice(this.column + 1);
        this.column += 1;
      }
      while (this.rows.length <= this.row) this.rows.push('');
    }
  }
}

test('a frame is drawn over the former one, longer or shorter, and lines said stay above it', () => {
  const terminal = new Terminal();
  const screen = new Screen(terminal.stream as unknown as NodeJS.WriteStream);
  terminal.stream.write('$ jobmon\n');
  screen.draw(['one', 'two is longer', 'three']);
  screen.draw(['uno', 'dos']);
  expect(terminal.shown).toEqual(['$ jobmon', 'uno', 'dos', '']);
  screen.say('the server is away');
  screen.draw(['\x1b[32muno\x1b[0m', 'dos', 'tres']);
  expect(terminal.shown).toEqual(['$ jobmon', 'the server is away', 'uno', 'dos', 'tres', '']);
  screen.end();
  terminal.stream.write('done\n');
  expect(terminal.shown).toEqual(['$ jobmon', 'the server is away', 'uno', 'dos', 'tres', 'done', '']);
});

test('a terminal that became narrower has broken the lines, and keeps nothing of the former frame', () => {
  const terminal = new Terminal();
  const screen = new Screen(terminal.stream as unknown as NodeJS.WriteStream);
  screen.draw(['x'.repeat(39), 'short', 'y'.repeat(25)]);
  terminal.resize(20);
  screen.draw(['now', 'narrow']);
  expect(terminal.shown).toEqual(['now', 'narrow', '']);
});
