/**
 * What is wrong with a workflow file: sentences with file, line and column, all of them at once, and the name that somebody
 * probably meant.
 */
import { JobmonError } from '@jobmon/contracts';

/** Problems that one refusal shows; the last line tells how many more there are. */
const SHOWN_MAX = 20;
/** Problems that are kept: a list of a million wrong values says the same a million times. */
const KEPT_MAX = 200;
/** Names among which the nearest is looked for, and their length: the search costs names times length squared. */
const CANDIDATES_MAX = 2_000;
const NAME_CHARS_MAX = 64;

/** A place in a file. Lines and columns count from 1; columns count characters as editors do. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface Problem extends Position {
  /** Cause and cure, without the place. */
  readonly message: string;
}

/** A workflow file that cannot be used. Nothing has been written to the server. `message` has a line for each problem. */
export class WorkflowFileError extends JobmonError {
  constructor(readonly problems: readonly Problem[]) {
    super('MALFORMED', textOf(problems), { problems });
    this.name = 'WorkflowFileError';
  }
}

function textOf(problems: readonly Problem[]): string {
  const lines = problems.slice(0, SHOWN_MAX).map(problemText);
  const more = problems.length - lines.length;
  if (more > 0) lines.push(`and ${problems.length >= KEPT_MAX ? `${more} or more` : more} other problems`);
  return lines.join('\n');
}

/** `flow.yaml:12:5: the sentence`, which terminals and editors make a link. */
export function problemText({ file, line, column, message }: Problem): string {
  return `${file}:${line}:${column}: ${message}`;
}

/** Collects problems and notices while files are read. */
export class Problems {
  readonly #found: Problem[] = [];
  /** Odd, but no reason to refuse; for standard error. */
  readonly notices: Problem[] = [];

  add(at: Position, message: string): void {
    const problem = { ...at, message: harmless(message) };
    const isKnown = this.#found.some((one) => problemText(one) === problemText(problem));
    if (this.#found.length < KEPT_MAX && !isKnown) this.#found.push(problem);
  }

  notice(at: Position, message: string): void {
    if (this.notices.length < KEPT_MAX) this.notices.push({ ...at, message: harmless(message) });
  }

  get isEmpty(): boolean {
    return this.#found.length === 0;
  }

  /** Throws WorkflowFileError, in the order of files and lines, when there is a problem. */
  throwIfAny(): void {
    if (this.isEmpty) return;
    const files = [...new Set(this.#found.map(({ file }) => file))];
    const place = ({ file, line, column }: Problem) => [files.indexOf(file), line, column] as const;
    const sorted = this.#found.sort((a, b) => {
      const [left, right] = [place(a), place(b)];
      return left[0] - right[0] || left[1] - right[1] || left[2] - right[2];
    });
    throw new WorkflowFileError(sorted);
  }
}

/** What a file holds is shown, never obeyed: no key moves the cursor. */
function harmless(text: string): string {
  return text.replace(
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `; did you mean 'needs'?` when one of the names is near, else nothing. */
export function didYouMean(wrong: string, names: Iterable<string>): string {
  const found = nearest(wrong, names);
  return found === undefined ? '' : `; did you mean '${found}'?`;
}

/** The name that somebody meant: the same but for case and punctuation, or a few slips of the finger away. */
function nearest(wrong: string, names: Iterable<string>): string | undefined {
  if (wrong.length > NAME_CHARS_MAX) return undefined;
  const plain = plainOf(wrong);
  let best: { name: string; slips: number } | undefined;
  let looked = 0;
  for (const name of names) {
    if (name.length > NAME_CHARS_MAX) continue;
    if (++looked > CANDIDATES_MAX) break;
    const slips = slipsBetween(plain, plainOf(name));
    if (best === undefined || slips < best.slips) best = { name, slips };
  }
  return best !== undefined && best.slips <= Math.floor(plain.length / 3) ? best.name : undefined;
}

const plainOf = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, '');

/** Letters put in, left out, replaced or swapped with their neighbour, from one word to the other. */
function slipsBetween(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) next[j] = Math.min(next[j]!, before[j - 2]! + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length]!;
}

/** A value as a sentence shows it: `"12 parsecs"`, `3`, `a map`. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return Object.keys(value).length === 0 ? 'an empty map' : 'a map';
  return String(value);
}
