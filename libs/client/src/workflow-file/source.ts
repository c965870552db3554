/**
 * One YAML or JSON file as plain values, each with its place. JSON is read as the YAML that it is. What a file may hold is
 * bounded before its values are looked at: size, depth, and what aliases make of it. Keys that stand twice are refused, merge
 * keys (`<<`) are understood, tags are not.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node, type YAMLMap } from 'yaml';
import { didYouMean, shown, type Position, type Problems } from './problem';

/** Larger descriptions are made by programs, which can use the SDK instead. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;
/** Maps and lists inside each other. A workflow file needs six. */
const DEPTH_MAX = 40;
/** Values that stand in a file only by aliases, all together. Nine aliases of nine aliases nine times are a billion. */
const ALIAS_VALUES_MAX = 10_000;
/** Errors of the syntax that are told; behind the first few they are mostly consequences. */
const SYNTAX_PROBLEMS_MAX = 5;

export type YamlVersion = '1.1' | '1.2';
export type Path = readonly (string | number)[];

/** A key of a map with its value. */
interface Pair {
  readonly key: Node;
  readonly value: Node | null;
}

/** Ends the reading of a file of which a fatal problem has been told. */
class Unreadable extends Error {}

export class Source {
  /** Plain objects, lists, text, numbers, booleans and null. What aliases stand for is the same object again. */
  readonly value: unknown;
  readonly #lines = new LineCounter();
  readonly #document: Document;
  readonly #anchors = new Map<string, Node>();
  readonly #targets = new Map<Node, Node>();
  readonly #made = new Map<Node, { readonly value: unknown; readonly size: number } | undefined>();
  readonly #written = new WeakMap<object, Map<string, string>>();
  readonly #pairs = new WeakMap<YAMLMap, Map<string, Pair>>();
  #values = 0;
  #aliased = 0;

  /**
   * Answers undefined when the file is no YAML at all; the problem has been told then. `at` is the place that asks for the file,
   * its own beginning when absent. `version`: Python's readers speak 1.1, in which 1:30 are ninety.
   */
  static read(
    file: string,
    problems: Problems,
    { at = { file, line: 1, column: 1 }, version = '1.2' }: { at?: Position; version?: YamlVersion } = {},
  ): Source | undefined {
    const text = readText(file, problems, at);
    if (text === undefined) return undefined;
    try {
      return new Source(file, text, version, problems);
    } catch (error) {
      if (error instanceof Unreadable) return undefined;
      if (!(error instanceof RangeError)) throw error;
      problems.add({ file, line: 1, column: 1 }, 'lists and maps stand in each other too deeply to be read');
      return undefined;
    }
  }

  private constructor(
    readonly file: string,
    text: string,
    version: YamlVersion,
    readonly problems: Problems,
  ) {
    this.#document = parseDocument(text, {
      version,
      lineCounter: this.#lines,
      prettyErrors: false,
      // Compares each key with all before it; here a set does that.
      uniqueKeys: false,
      resolveKnownTags: false,
      // Silent, it would not mind a second document.
      logLevel: 'error',
    });
    const errors = [...this.#document.errors, ...this.#document.warnings];
    if (errors.length > 0) {
      const end = errors.findIndex(({ code }) => code === 'RESOURCE_EXHAUSTION');
      for (const { code, message, pos } of end < 0 ? errors.slice(0, SYNTAX_PROBLEMS_MAX) : [errors[end]!]) {
        this.problems.add(this.#at(pos[0]), SENTENCE_OF[code] ?? `this is no YAML: ${message.split('\n')[0]}`);
      }
      throw new Unreadable();
    }
    this.value = this.#plain(this.#document.contents as Node | null, 0);
  }

  /** Where a value stands, or its key; the nearest thing around it when there is no such value. */
  positionOf(path: Path, what: 'key' | 'value' = 'value'): Position {
    let node = this.#document.contents as Node | null;
    let offset = node?.range?.[0] ?? 0;
    for (const [i, segment] of path.entries()) {
      const target = this.#targetOf(node);
      const isLast = i === path.length - 1;
      if (isMap(target)) {
        const pair = this.#pairOf(target, String(segment));
        if (pair === undefined) break;
        node = pair.value;
        const isEmpty = node === null || (isScalar(node) && node.source === '' && node.type === 'PLAIN');
        offset = (isEmpty || (isLast && what === 'key') ? pair.key : node)?.range?.[0] ?? offset;
      } else if (isSeq(target)) {
        const item = target.items[Number(segment)] as Node | undefined;
        if (item === undefined) break;
        node = item;
        offset = node.range?.[0] ?? offset;
      } else break;
    }
    return this.#at(offset);
  }

  /** A value of a list or map as text, as it is written: `007` and `1.10` keep their digits. */
  textOf(parent: object, key: string | number): string {
    const value = (parent as Record<string | number, unknown>)[key];
    return this.#written.get(parent)?.get(String(key)) ?? String(value);
  }

  #at(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.file, line: Math.max(line, 1), column: Math.max(col, 1) };
  }

  #fatal(node: Node | null, message: string): never {
    this.problems.add(this.#at(node?.range?.[0] ?? 0), message);
    throw new Unreadable();
  }

  #plain(node: Node | null, depth: number): unknown {
    if (node === null) return null;
    if (depth > DEPTH_MAX) this.#fatal(node, `lists and maps stand in each other more than ${DEPTH_MAX} deep`);
    if (isAlias(node)) return this.#aliasOf(node, node.source);
    const { anchor } = node as { anchor?: string };
    if (anchor !== undefined) {
      this.#anchors.set(anchor, node);
      this.#made.set(node, undefined);
    }
    const before = this.#values++;
    const value = isMap(node)
      ? this.#mapOf(node, depth)
      : isSeq(node)
        ? this.#listOf(node.items as Node[], depth)
        : scalarOf(node);
    if (anchor !== undefined) this.#made.set(node, { value, size: this.#values - before });
    return value;
  }

  #aliasOf(node: Node, name: string): unknown {
    const target = this.#anchors.get(name);
    if (target === undefined) {
      const cure = didYouMean(name, this.#anchors.keys()) || '; text that begins with * must be in quotes';
      this.#fatal(node, `no anchor '&${name}' stands before this alias${cure}`);
    }
    this.#targets.set(node, target);
    const made = this.#made.get(target);
    if (made === undefined) this.#fatal(node, `the alias '*${name}' stands inside of what it stands for`);
    this.#values += made.size;
    this.#aliased += made.size;
    if (this.#aliased > ALIAS_VALUES_MAX) {
      this.#fatal(node, `aliases make this file more than ${ALIAS_VALUES_MAX} values larger; write fewer of them`);
    }
    return made.value;
  }

  #listOf(items: readonly (Node | null)[], depth: number): unknown[] {
    const list: unknown[] = [];
    items.forEach((item, i) => {
      list.push(this.#plain(item, depth + 1));
      this.#keepText(list, i, item);
    });
    return list;
  }

  #mapOf(map: YAMLMap, depth: number): Record<string, unknown> {
    // Without a prototype: `constructor` is a key like others.
    const record = Object.create(null) as Record<string, unknown>;
    const merged: unknown[] = [];
    const places = new Map<string, number>();
    for (const { key, value } of map.items as { key: Node | null; value: Node | null }[]) {
      if (isMerge(key)) {
        const given = this.#plain(value, depth + 1);
        merged.push(...(Array.isArray(given) ? given : [given]));
        if (!merged.every(isRecord)) this.#fatal(value, `expected a map, or a list of maps, behind '<<', found ${shown(given)}`);
        continue;
      }
      const name = keyOf(this.#targetOfKey(key));
      if (name === undefined)
        this.#fatal(key, 'expected a name as key, found a list, a map or nothing; names with braces need quotes');
      if (name === '__proto__') this.#fatal(key, "'__proto__' cannot be a key");
      if (Object.hasOwn(record, name)) {
        const first = this.#at(places.get(name) ?? 0);
        const message = `the key '${shortened(name)}' stands here a second time; the first is in line ${first.line}`;
        this.problems.add(this.#at(key?.range?.[0] ?? 0), message);
        continue;
      }
      places.set(name, key?.range?.[0] ?? 0);
      record[name] = this.#plain(value, depth + 1);
      this.#keepText(record, name, value);
    }
    for (const other of merged as Record<string, unknown>[]) {
      for (const [name, value] of Object.entries(other)) {
        if (Object.hasOwn(record, name)) continue;
        record[name] = value;
        const text = this.#written.get(other)?.get(name);
        if (text !== undefined) this.#keepWritten(record, name, text);
      }
    }
    return record;
  }

  /** Numbers and booleans are written in many ways; the text is kept where it is another than the value's own. */
  #keepText(parent: object, key: string | number, node: Node | null): void {
    const target = this.#targetOf(node);
    if (!isScalar(target) || typeof target.value === 'string' || target.source === undefined) return;
    if (target.source !== String(target.value)) this.#keepWritten(parent, String(key), target.source);
  }

  #keepWritten(parent: object, key: string, text: string): void {
    const texts = this.#written.get(parent) ?? new Map<string, string>();
    this.#written.set(parent, texts.set(key, text));
  }

  #targetOf(node: Node | null): Node | null {
    return node === null ? null : (this.#targets.get(node) ?? node);
  }

  #targetOfKey(key: Node | null): Node | null {
    if (isAlias(key)) this.#aliasOf(key, key.source);
    return this.#targetOf(key);
  }

  /** The pair of a key, its own before merged ones. */
  #pairOf(map: YAMLMap, name: string): Pair | undefined {
    let pairs = this.#pairs.get(map);
    if (pairs === undefined) {
      pairs = new Map();
      for (const pair of map.items as Pair[]) {
        const own = isMerge(pair.key) ? undefined : keyOf(this.#targetOf(pair.key));
        if (own !== undefined && !pairs.has(own)) pairs.set(own, pair);
      }
      this.#pairs.set(map, pairs);
    }
    return pairs.get(name) ?? this.#mergedPairOf(map, name);
  }

  #mergedPairOf(map: YAMLMap, name: string): Pair | undefined {
    for (const { key, value } of map.items as Pair[]) {
      if (!isMerge(key)) continue;
      const given = this.#targetOf(value);
      for (const other of isSeq(given) ? (given.items as Node[]) : [given]) {
        const target = this.#targetOf(other);
        const found = isMap(target) ? this.#pairOf(target, name) : undefined;
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }
}

/** Sentences for the mistakes that people make; others keep the parser's own. */
const SENTENCE_OF: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: 'a tab cannot indent; use blanks',
  BAD_INDENT: 'the indentation fits none of the lines above',
  BLOCK_AS_IMPLICIT_KEY:
    "a second ': ' stands in this line; put text that holds ': ' in quotes, or under '|' on lines of its own",
  BLOCK_IN_FLOW: 'a list or map of several lines cannot stand inside of brackets or braces',
  UNEXPECTED_TOKEN: 'this does not belong here; put text that begins with a brace, bracket or quote in quotes as a whole',
  BAD_SCALAR_START: 'text cannot begin with this character; put it in quotes',
  MULTILINE_IMPLICIT_KEY: "a key must stand on one line; is a ': ' missing?",
  MULTIPLE_DOCS: "expected one document, and another begins here; take away the line '---'",
  TAG_RESOLVE_FAILED: "tags ('!…') have no meaning here; put text that begins with '!' in quotes",
  RESOURCE_EXHAUSTION: 'lists and maps stand in each other too deeply to be read',
};

/** In YAML 1.1 the parser makes a symbol of it. */
function isMerge(key: Node | null): boolean {
  return isScalar(key) && (key.value === '<<' || typeof key.value === 'symbol') && key.type === 'PLAIN';
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The text of a key: numbers and booleans as they are written. Undefined for what cannot be a name. */
function keyOf(key: Node | null): string | undefined {
  if (!isScalar(key) || key.value === null) return undefined;
  return typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
}

function scalarOf(node: Node): unknown {
  return (node as { value?: unknown }).value ?? null;
}

const shortened = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}...` : text);

/** The text of a file; `-` is standard input. Undefined when it cannot be read or is no text; the problem has been told then. */
function readText(file: string, problems: Problems, place: Position): string | undefined {
  let bytes: Buffer;
  try {
    bytes = readBytes(file);
  } catch (error) {
    problems.add(place, `the file '${file}' cannot be read: ${reasonOf(error as NodeJS.ErrnoException)}`);
    return undefined;
  }
  if (bytes.length > FILE_BYTES_MAX) {
    const most = FILE_BYTES_MAX / 1024 / 1024;
    problems.add(
      place,
      `the file '${file}' is larger than ${most} MiB; describe so large a workflow by a program that uses the SDK`,
    );
    return undefined;
  }
  const text = bytes.toString('utf8').replace(/^\uFEFF/, '');
  const wrong = /[\uFFFD\0]/.exec(text);
  // The replacement character may stand in the file itself.
  if (wrong === null || (wrong[0] === '\uFFFD' && Buffer.from(text).equals(bytes.subarray(bytes[0] === 0xef ? 3 : 0))))
    return text;
  const before = text.slice(0, wrong.index).split('\n');
  const at = { file, line: before.length, column: before.at(-1)!.length + 1 };
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  const what = isUtf16 ? 'UTF-16' : wrong[0] === '\0' ? 'binary' : 'not UTF-8';
  problems.add(at, `the file is ${what} from here on; save it as UTF-8 text`);
  return undefined;
}

/** At most one byte more than is allowed, from files, pipes and devices alike. */
function readBytes(file: string): Buffer {
  const descriptor = file === '-' ? 0 : openSync(file, 'r');
  try {
    const pieces: Buffer[] = [];
    for (let left = FILE_BYTES_MAX + 1; left > 0;) {
      const piece = Buffer.allocUnsafe(Math.min(left, 256 * 1024));
      const count = readSync(descriptor, piece, 0, piece.length, null);
      if (count === 0) break;
      pieces.push(piece.subarray(0, count));
      left -= count;
    }
    return Buffer.concat(pieces);
  } finally {
    if (descriptor !== 0) closeSync(descriptor);
  }
}

/** The system's code as a sentence. */
function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'EACCES') return 'permission denied';
  return message;
}
