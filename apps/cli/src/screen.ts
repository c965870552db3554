/**
 * A part of a terminal that is drawn again and again in its place, with lines above it that stay. One write a drawing, so that nothing is
 * seen half. Modes: **clear** (nothing stands), **drawn** (the cursor is on the line below the frame). `end` leaves the last frame.
 */
import { columnsOf } from './text';

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const CLEAR_DOWN = '\x1b[J';
const CLEAR_LINE = '\x1b[K';

export class Screen {
  /** The frame that stands, without colours; empty when nothing stands. */
  private standing: string[] = [];

  constructor(private readonly stream: NodeJS.WriteStream) {}

  draw(lines: readonly string[]): void {
    this.stream.write(
      `${this.home()}${HIDE_CURSOR}${lines.map((line) => `${line}${CLEAR_LINE}\n`).join('')}${CLEAR_DOWN}${SHOW_CURSOR}`,
    );
    this.standing = lines.map((line) => line.replace(/\x1b\[\d+m/g, ''));
  }

  /** A line above the frame, for good. */
  say(line: string): void {
    this.stream.write(`${this.home()}${CLEAR_DOWN}${line}\n`);
    this.standing = [];
  }

  /** Whatever is written next stands below the frame. */
  end(): void {
    this.standing = [];
  }

  /** Back to the frame's first line. A terminal that became narrower has broken its lines into several. */
  private home(): string {
    const columns = this.stream.columns || Infinity;
    const rows = this.standing.reduce((sum, line) => sum + Math.max(1, Math.ceil(columnsOf(line) / columns)), 0);
    return rows === 0 ? '' : `\x1b[${rows}A\r`;
  }
}
