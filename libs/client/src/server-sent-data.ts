/** Reads server-sent events by hand: only the `data` of each event matters here; ids, names and comments are passed over. */

/** Longest event in characters. A view of a workflow is below 2,000. */
const EVENT_CHARS_MAX = 1_000_000;

/**
 * The data of each event of a response, its lines joined by newlines, as they arrive. Ends when the server closes the
 * stream; an event that was cut off by that is dropped. Throws when nothing arrives for `silence_ms`, or an event is longer
 * than a million characters. Leaving the loop early closes the connection.
 */
export async function* serverSentData(response: Response, silence_ms: number): AsyncGenerator<string, void, void> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await withinTime(reader.read(), silence_ms);
      if (done) return;
      rest += value;
      if (rest.length > EVENT_CHARS_MAX) throw new Error('an event of the stream is too long');
      // A carriage return at the end may be the first half of a pair, so that line waits for the next piece.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) yield data.join('\n');
          data = [];
        } else if (line.startsWith('data:')) {
          data.push(line.slice(line.startsWith('data: ') ? 6 : 5));
        }
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function withinTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the stream was silent for ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
