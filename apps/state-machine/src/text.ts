/** Texts of foreign origin (output, error descriptions, names) made fit for their columns before they enter a batch. */
import { LOG_TAIL_CHARACTERS_MAX } from '@jobmon/contracts';

/** Half of a surrogate pair alone. JSON may carry one; no UTF-8 column can. */
const LONE_SURROGATE = /\p{Surrogate}/gu;

/** The text with each lone surrogate replaced by U+FFFD; everything else, `\u0000` too, is kept exactly. */
export function wellFormed(text: string): string {
  return text.replace(LONE_SURROGATE, '\ufffd');
}

/**
 * The last 10,000 characters of an output or a description. Characters are code points, as Python counts them, so a surrogate
 * pair is never broken. At 4 bytes each that is 40,000 bytes at most, which a TEXT column (65,535 bytes) always holds.
 */
export function tailOf(text: string): string {
  let from = text.length;
  for (let characters = 0; from > 0 && characters < LOG_TAIL_CHARACTERS_MAX; characters += 1) {
    from -= 1;
    const isPair = from > 0 && isLowSurrogate(text.charCodeAt(from)) && isHighSurrogate(text.charCodeAt(from - 1));
    if (isPair) from -= 1;
  }
  return wellFormed(from === 0 ? text : text.slice(from));
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;
