/**
 * Values as text in Python's notation, which is what some columns hold and some answers carry (spec/http-api-execution.md section 2.7):
 * JSON, but for True, False and None, quotes of either kind and tuples.
 */

/** Deepest nesting that is read. */
const DEPTH_MAX = 32;

/** The value that a stored text says, in JSON or in Python's notation; a tuple is a list. Undefined when it is neither. */
export function valueOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    const reader = new Reader(text);
    try {
      return reader.whole();
    } catch (fault) {
      if (fault instanceof NotALiteral) return undefined;
      throw fault;
    }
  }
}

/** A plain JSON value in Python's notation, as Python's `repr` writes it: `{'cores': 1, 'x': [True, None]}`. */
export function literalOf(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return `[${value.map(literalOf).join(', ')}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  const members = Object.entries(value).map(([key, inner]) => `${quoted(key)}: ${literalOf(inner)}`);
  return `{${members.join(', ')}}`;
}

/** What Python does not print as it is: control and format characters, halves of pairs, and separators but for the blank. */
const UNPRINTABLE = /[\\\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;
const SHORT: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** Single quotes, unless the text has such and no double ones. */
function quoted(text: string): string {
  const escaped = text.replace(UNPRINTABLE, (character) => {
    const hex = (character.codePointAt(0) as number).toString(16);
    const width = hex.length <= 2 ? 2 : hex.length <= 4 ? 4 : 8;
    return SHORT[character] ?? `\\${{ 2: 'x', 4: 'u', 8: 'U' }[width]}${hex.padStart(width, '0')}`;
  });
  if (text.includes("'") && !text.includes('"')) return `"${escaped}"`;
  return `'${escaped.replaceAll("'", "\\'")}'`;
}

class NotALiteral extends Error {}

const WORDS: Readonly<Record<string, boolean | null>> = {
  True: true,
  False: false,
  None: null,
  true: true,
  false: false,
  null: null,
};
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', a: '\x07', v: '\v', '\n': '' };
const TOKEN = /\s*(?:([[\](){}:,])|(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|([A-Za-z]+)|(?=["']))/y;
const STRING = /'((?:[^'\\]|\\[\s\S])*)'|"((?:[^"\\]|\\[\s\S])*)"/y;
const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\s\S]))/g;

/** Reads one literal from left to right. */
class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  whole(): unknown {
    const value = this.value(this.next(), 0);
    if (this.text.slice(this.at).trim() !== '') throw new NotALiteral();
    return value;
  }

  /** A mark, or a value in an object of its own. */
  private next(): string | { value: unknown } {
    TOKEN.lastIndex = this.at;
    const found = TOKEN.exec(this.text);
    if (found === null) throw new NotALiteral();
    this.at = TOKEN.lastIndex;
    const [, mark, number, word] = found;
    if (mark !== undefined) return mark;
    if (number !== undefined) return { value: Number(number) };
    if (word === undefined) return { value: this.string() };
    if (!Object.hasOwn(WORDS, word)) throw new NotALiteral();
    return { value: WORDS[word] };
  }

  private string(): string {
    STRING.lastIndex = this.at;
    const found = STRING.exec(this.text);
    if (found === null) throw new NotALiteral();
    this.at = STRING.lastIndex;
    return (found[1] ?? found[2] ?? '').replace(ESCAPE, (_, x?: string, u?: string, long?: string, other?: string) => {
      const code = x ?? u ?? long;
      if (code === undefined)
        return ESCAPES[other ?? ''] ?? (/[\\'"]/.test(other ?? '') ? (other as string) : `\\${other ?? ''}`);
      const point = parseInt(code, 16);
      if (point > 0x10ffff) throw new NotALiteral();
      return String.fromCodePoint(point);
    });
  }

  private value(token: string | { value: unknown }, depth: number): unknown {
    if (depth > DEPTH_MAX) throw new NotALiteral();
    if (typeof token !== 'string') return token.value;
    if (token === '[') return this.items(']', depth).values;
    if (token === '{') return this.members(depth);
    if (token !== '(') throw new NotALiteral();
    const { values, isTrailed } = this.items(')', depth);
    return values.length === 1 && !isTrailed ? values[0] : values;
  }

  private items(end: string, depth: number): { values: unknown[]; isTrailed: boolean } {
    const values: unknown[] = [];
    for (let token = this.next(); ; token = this.next()) {
      if (token === end) return { values, isTrailed: true };
      values.push(this.value(token, depth + 1));
      const behind = this.next();
      if (behind === end) return { values, isTrailed: false };
      if (behind !== ',') throw new NotALiteral();
    }
  }

  private members(depth: number): Record<string, unknown> {
    const members: [string, unknown][] = [];
    for (let token = this.next(); ; token = this.next()) {
      if (token === '}') break;
      const key = this.value(token, depth + 1);
      if (this.next() !== ':') throw new NotALiteral();
      members.push([typeof key === 'string' ? key : literalOf(key), this.value(this.next(), depth + 1)]);
      const behind = this.next();
      if (behind === '}') break;
      if (behind !== ',') throw new NotALiteral();
    }
    return Object.fromEntries(members);
  }
}
