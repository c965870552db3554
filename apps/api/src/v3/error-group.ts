/**
 * Groups of alike errors. An error's *signature* is its last exception line and the functions of its innermost stack frames, with all that
 * differs from attempt to attempt (numbers, hex, paths, dates, ids, host names) put away; equal signatures are one group, and a signature
 * that shares four fifths of its shingles with a group's first one joins it. Errors are taken from the oldest on and a
 * group is named by its oldest, so what comes later changes neither a name nor what was grouped before. Pure.
 */
import { createHash } from 'node:crypto';

/** One error as it is looked at. */
export interface ErrorText {
  /** The end of the output, or the error's own text. */
  readonly text: string;
  /** Where it happened, if that is known. */
  readonly host: string | null;
}

export interface ErrorGroup {
  /** 16 hex digits, made from the signature of the oldest error in it. */
  readonly cluster_id: string;
  /** As it stands in the text, with its modules; null when the text names none. */
  readonly exception_class: string | null;
  /** Positions of its errors, ascending. */
  readonly members: number[];
}

/** What groups share at least, of the shingles of both together. */
const SIMILARITY_MIN = 0.8;
/** Words of a shingle. */
const SHINGLE_WORDS = 3;
/** Groups of one exception class that a signature is compared with; beyond them only equal ones meet. Bounds the work of one request. */
const COMPARED_MAX = 50;
/** Innermost frames of a signature: what was cut from a log's beginning must not change it. */
const FRAMES_MAX = 6;
/** Characters of a line that are looked at. */
const LINE_CHARACTERS = 1_000;

interface Signature {
  readonly text: string;
  readonly exception_class: string | null;
}

interface OpenGroup extends ErrorGroup {
  readonly shingles: ReadonlySet<string>;
}

/** Takes errors one by one, the oldest first, so that many can be taken in steps. */
export class ErrorGroups {
  private readonly bySignature = new Map<string, OpenGroup>();
  private readonly byClass = new Map<string | null, OpenGroup[]>();
  private readonly groups: OpenGroup[] = [];
  private count = 0;

  add(error: ErrorText): void {
    const signature = signatureOf(error);
    let group = this.bySignature.get(signature.text);
    if (group === undefined) {
      group = this.join(signature);
      this.bySignature.set(signature.text, group);
    }
    group.members.push(this.count++);
  }

  /** The group that a new signature joins, or one of its own. */
  private join({ text, exception_class }: Signature): OpenGroup {
    const shingles = shinglesOf(text);
    const others = this.byClass.get(exception_class) ?? [];
    const alike = others.find((other) => areAlike(other.shingles, shingles));
    if (alike !== undefined) return alike;
    const group = { cluster_id: hashOf(text), exception_class, members: [], shingles };
    this.groups.push(group);
    if (others.length < COMPARED_MAX) this.byClass.set(exception_class, [...others, group]);
    return group;
  }

  /** By size, the largest first; of two the older first. */
  sorted(): ErrorGroup[] {
    return [...this.groups]
      .sort((a, b) => b.members.length - a.members.length || a.members[0]! - b.members[0]!)
      .map(({ cluster_id, exception_class, members }) => ({ cluster_id, exception_class, members }));
  }
}

/** A number from 0 to 1 that is the group's own. */
export function scoreOf(cluster_id: string): number {
  return parseInt(cluster_id.slice(0, 12), 16) / 16 ** 12;
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** `KeyError: 'x'`, `java.io.IOException: …`, `Caused by: …`; groups: class, message. */
const EXCEPTION =
  /^(?:Caused by: )?((?:[\w$]+\.)*\w*(?:Error|Exception|Warning|Interrupt|Exit|Fault|Failure|Timeout))(?:\s*:\s*(.*))?$/;
/** Frames as Python, JavaScript and Java write them; groups: file and function, in one order or the other. */
const FRAMES = [
  /^\s*File "(?<file>[^"]+)", line \d+, in (?<name>\S+)/,
  /^\s*at (?<name>[^\s(]+) \((?<file>[^():]+)(?::\d+)*\)/,
  /^\s*at (?<name>[\w.$<>]+)\((?<file>[^():]+)(?::\d+)?\)/,
];

function signatureOf({ text, host }: ErrorText): Signature {
  const lines = text.split('\n').map((line) => line.slice(0, LINE_CHARACTERS).trimEnd());
  let found: RegExpMatchArray | null = null;
  for (let at = lines.length - 1; at >= 0 && found === null; at--) found = EXCEPTION.exec(lines[at]!);
  const exception_class = found?.[1] ?? null;
  const message = found === null ? (lines.findLast((line) => line.trim() !== '') ?? '') : (found[2] ?? '');
  const frames = lines.flatMap((line) => {
    const groups = FRAMES.map((frame) => frame.exec(line)?.groups).find((match) => match !== undefined);
    return groups === undefined ? [] : [`${groups.file!.replace(/^.*[\\/]/, '')} ${groups.name}`];
  });
  const inner = frames.slice(-FRAMES_MAX).map((frame) => `\n${frame.replace(/\d+/g, '<n>')}`);
  return { text: `${exception_class ?? ''}: ${withoutParticulars(message, host)}${inner.join('')}`, exception_class };
}

/** In this order: a date holds numbers, and a path may hold all of them. */
const PARTICULARS: readonly (readonly [RegExp, string])[] = [
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi, '<id>'],
  [/\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?/g, '<date>'],
  [/(?<![\w/])(?:~|\.{1,2})?(?:\/[\w.@+%=-]+)+\/?/g, '<path>'],
  [/\b[A-Za-z]:(?:\\[\w.@+%= -]+)+/g, '<path>'],
  [/\b[a-z][a-z-]*\d[\w-]*(?:\.[a-z][a-z0-9-]*)+\b/gi, '<host>'],
  [/\b0x[0-9a-f]+\b/gi, '<hex>'],
  [/\b(?=[a-f]*\d)[0-9a-f]{8,}\b/gi, '<hex>'],
  [/[-+]?\d+(?:[.,:]\d+)*(?:e[-+]?\d+)?/gi, '<n>'],
];

function withoutParticulars(message: string, host: string | null): string {
  const hostless = host === null || host.length < 3 ? message : message.replaceAll(host, '<host>');
  return PARTICULARS.reduce((text, [pattern, word]) => text.replace(pattern, word), hostless).replace(/\s+/g, ' ');
}

function shinglesOf(text: string): ReadonlySet<string> {
  const words = text.toLowerCase().match(/[\w<>]+/g) ?? [];
  const shingles = new Set<string>();
  for (let at = 0; at === 0 || at + SHINGLE_WORDS <= words.length; at++)
    shingles.add(words.slice(at, at + SHINGLE_WORDS).join(' '));
  return shingles;
}

function areAlike(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (Math.min(a.size, b.size) < SIMILARITY_MIN * Math.max(a.size, b.size)) return false;
  let both = 0;
  for (const shingle of a) if (b.has(shingle)) both += 1;
  return both >= SIMILARITY_MIN * (a.size + b.size - both);
}
