/** Text on a terminal: made harmless, measured in columns, cut to them. What a database holds is shown, never obeyed. */

/**
 * What moves the cursor, ends a line or turns the direction of writing: control characters, line separators, the marks of bidirectional
 * text, and halves of characters.
 */
const HARMFUL = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udfff]/gu;
const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\r': '\\r' };

/** Line breaks and control characters as escapes: a name may not move the cursor. */
export function oneLine(text: string): string {
  return text.replace(HARMFUL, (char) => SHORT_ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Characters that take two columns: East Asian wide ones and pictures. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f000}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
/** Characters that take none. */
const ZERO = /\p{Mn}|\p{Me}|[\u200c\u200d\ufe00-\ufe0f]/u;

function columnsOfChar(char: string): number {
  if (char >= ' ' && char <= '~') return 1;
  return ZERO.test(char) ? 0 : WIDE.test(char) ? 2 : 1;
}

/** Columns that a text without control characters takes. */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const char of text) columns += columnsOfChar(char);
  return columns;
}

/** The text in at most so many columns; what is cut off ends with an ellipsis. */
export function cut(text: string, columns_max: number): string {
  if (columnsOf(text) <= columns_max) return text;
  let columns = 0;
  let kept = '';
  for (const char of text) {
    columns += columnsOfChar(char);
    if (columns > columns_max - 1) break;
    kept += char;
  }
  return columns_max < 1 ? '' : `${kept}…`;
}

/** As `cut`, but what is left out is in the middle, after a third: a path is told by where it begins and, more so, by where it ends. */
export function cutMiddle(text: string, columns_max: number): string {
  if (columnsOf(text) <= columns_max) return text;
  const begin = cut(text, Math.ceil(columns_max / 3));
  let columns = columnsOf(begin);
  let end = '';
  for (const char of [...text].reverse()) {
    columns += columnsOfChar(char);
    if (columns > columns_max) break;
    end = char + end;
  }
  return begin + end;
}

/** As `cut`, and filled up with blanks to exactly so many columns. */
export function padded(text: string, columns: number, align: 'left' | 'right' = 'left'): string {
  const shown = cut(text, columns);
  const blanks = ' '.repeat(Math.max(0, columns - columnsOf(shown)));
  return align === 'right' ? blanks + shown : shown + blanks;
}

/** Prose in lines of at most so many columns, broken at blanks; all but the first begin with `indent`. */
export function wrapped(text: string, columns: number, indent = ''): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== undefined && columnsOf(line) + 1 + columnsOf(word) <= columns) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(line === undefined ? word : indent + word);
  }
  return lines;
}

/** `1,234,567`. */
export function grouped(number: number): string {
  return String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 task`, `2 tasks`, `0 tasks`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `8 s`, `12 min 4 s`, `3 h 20 min`, `2 d 5 h`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours, minutes, rest] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3_600) % 24,
    Math.floor(whole / 60) % 60,
    whole % 60,
  ];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${rest} s` : `${rest} s`;
}

/** `512 B`, `1.5 GiB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let size = bytes;
  let unit = 0;
  for (; size >= 1_024 && unit < units.length - 1; unit++) size /= 1_024;
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}
