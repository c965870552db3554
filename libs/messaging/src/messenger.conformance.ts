/**
 * What every transport must do, as tests: a transport's spec calls `messengerConformance` with the way to make its members.
 * A member is one process's end of the bus; a transport within one process has a single one, which is then both sender
 * and answerer.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { z } from 'zod';
import { event, JobmonError, MESSAGE_BYTES_MAX, operation } from '@jobmon/contracts';
import { createLogger, type Logger } from '@jobmon/runtime';
import { send, type Messenger } from './messenger';

export interface Transport {
  /** Opens members of one bus that nobody else is on. */
  open(count: number, log: Logger): Promise<Messenger[]>;
  /** Until the bus knows of everything that these members listen to; a bus in one process knows at once. */
  settle?(members: readonly Messenger[]): Promise<void>;
  /** Most members the transport can have; 1 when sender and answerer are the same. */
  readonly members_max: number;
}

const echo = operation({
  name: 'conformance.echo',
  owner: 'api',
  summary: 'Answers what it is given.',
  request: z.object({ value: z.unknown().optional() }),
  reply: z.object({ value: z.unknown().optional() }),
});
const double = operation({
  name: 'conformance.double',
  owner: 'state-machine',
  summary: 'Answers twice the number.',
  request: z.object({ number: z.coerce.number().int() }),
  reply: z.object({ number: z.number() }),
});
const happened = event({ name: 'conformance.happened', payload: z.object({ number: z.number().int() }) });
const elsewhere = event({ name: 'conformance.elsewhere', payload: z.object({}) });

export function messengerConformance(name: string, transport: Transport): void {
  describe(`${name} as a messenger`, () => {
    let open: Messenger[] = [];
    let lines: string[] = [];

    /** A sender and an answerer, which may be the same. */
    async function bus(
      count = Math.min(2, transport.members_max),
    ): Promise<{ sender: Messenger; answerer: Messenger; all: Messenger[] }> {
      lines = [];
      const log = createLogger({
        service: 'conformance',
        level: 'debug',
        destination: { write: (line) => void lines.push(line) },
      });
      const all = await transport.open(count, log);
      open.push(...all);
      return { sender: all[0] as Messenger, answerer: all[all.length - 1] as Messenger, all };
    }
    const logged = (level: string): Record<string, unknown>[] =>
      lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((line) => line['level'] === level);

    afterEach(async () => {
      for (const messenger of open) await messenger.drain();
      open = [];
    });

    const echoes = (answerer: Messenger): void =>
      answerer.handle(echo, async (requests) => requests.map(({ value }) => ({ ok: { value } })));

    describe('requests', () => {
      it('answers each call in order', async () => {
        const { sender, answerer } = await bus();
        answerer.handle(double, async (requests) => requests.map(({ number }) => ({ ok: { number: number * 2 } })));
        expect(await sender.request(double, [{ number: 1 }, { number: 2 }, { number: 3 }])).toEqual([
          { ok: { number: 2 } },
          { ok: { number: 4 } },
          { ok: { number: 6 } },
        ]);
        expect(await send(sender, double, { number: 21 })).toEqual({ number: 42 });
      });

      it('gives the handler what the schema made of the request, and the context', async () => {
        const { sender, answerer } = await bus();
        const seen: unknown[] = [];
        answerer.handle(double, async (requests, context) => {
          seen.push(requests, context);
          return requests.map(({ number }) => ({ ok: { number } }));
        });
        await sender.request(double, [{ number: '7' as unknown as number }], { request_id: 'r-1', timeout_ms: 5_000 });
        expect(seen).toEqual([[{ number: 7 }], { request_id: 'r-1' }]);
      });

      it('answers a malformed call for itself alone and keeps it from the handler', async () => {
        const { sender, answerer } = await bus();
        const seen: unknown[] = [];
        answerer.handle(double, async (requests) => {
          seen.push(...requests);
          return requests.map(({ number }) => ({ ok: { number } }));
        });
        const wrong = { number: 'many' as unknown as number };
        expect(await sender.request(double, [{ number: 1 }, wrong, { number: 3 }])).toEqual([
          { ok: { number: 1 } },
          { error: { code: 'MALFORMED', message: expect.stringContaining('conformance.double: number:') } },
          { ok: { number: 3 } },
        ]);
        expect(seen).toEqual([{ number: 1 }, { number: 3 }]);
        expect(await sender.request(double, [wrong])).toMatchObject([{ error: { code: 'MALFORMED' } }]);
        expect(seen).toHaveLength(2);
      });

      it('carries errors of single calls with code, message and details', async () => {
        const { sender, answerer } = await bus();
        const error = { code: 'CONFLICT', message: 'a cycle', details: { task_ids: [1, 2] } } as const;
        answerer.handle(echo, async (requests) => requests.map(({ value }) => (value === 1 ? { error } : { ok: { value } })));
        expect(await sender.request(echo, [{ value: 0 }, { value: 1 }])).toEqual([{ ok: { value: 0 } }, { error }]);
        await expect(send(sender, echo, { value: 1 })).rejects.toMatchObject({ name: 'JobmonError', ...error });
      });

      it('answers what the handler throws to every call; a defect is INTERNAL, its cause in the log only', async () => {
        const { sender, answerer } = await bus();
        answerer.handle(echo, async ([first]) => {
          throw first?.value === 'named' ? new JobmonError('NOT_FOUND', 'no such task') : new TypeError('secret detail');
        });
        const named = { error: { code: 'NOT_FOUND', message: 'no such task' } };
        expect(await sender.request(echo, [{ value: 'named' }, { value: 2 }])).toEqual([named, named]);
        expect(logged('error')).toEqual([]);
        const [defect] = await sender.request(echo, [{ value: 'defect' }], { request_id: 'r-9' });
        expect(defect).toEqual({ error: { code: 'INTERNAL', message: 'internal error' } });
        expect(logged('error')).toMatchObject([{ operation: 'conformance.echo', request_id: 'r-9' }]);
        expect(JSON.stringify(logged('error'))).toContain('secret detail');
      });

      it.each([
        ['too few outcomes', []],
        ['too many outcomes', [{ ok: {} }, { ok: {} }, { ok: {} }]],
        ['no list', undefined],
      ])('answers INTERNAL when the handler answers %s', async (_what, outcomes) => {
        const { sender, answerer } = await bus();
        answerer.handle(echo, async () => outcomes as never);
        const internal = { error: { code: 'INTERNAL' } };
        expect(await sender.request(echo, [{ value: 1 }, { value: 2 }])).toMatchObject([internal, internal]);
        expect(logged('error')).toHaveLength(1);
      });

      it('answers UNAVAILABLE when nobody handles the operation', async () => {
        const { sender } = await bus();
        expect(await sender.request(echo, [{ value: 1 }, { value: 2 }])).toMatchObject([
          { error: { code: 'UNAVAILABLE' } },
          { error: { code: 'UNAVAILABLE' } },
        ]);
      });

      it('answers UNAVAILABLE after the time-out, while the handler goes on', async () => {
        const { sender, answerer } = await bus();
        let release = (): void => undefined;
        let hasEnded = false;
        answerer.handle(echo, async (requests) => {
          await new Promise<void>((go) => (release = go));
          hasEnded = true;
          return requests.map(({ value }) => ({ ok: { value } }));
        });
        const [outcome] = await sender.request(echo, [{ value: 1 }], { timeout_ms: 30 });
        expect(outcome).toMatchObject({ error: { code: 'UNAVAILABLE', message: expect.stringContaining('30 ms') } });
        expect(hasEnded).toBe(false);
        release();
        await answerer.drain();
        expect(hasEnded).toBe(true);
      });

      it('keeps many messages in flight apart', async () => {
        const { sender, answerer } = await bus();
        const held: (() => void)[] = [];
        answerer.handle(double, async (requests) => {
          // Answered from last to first, once all have come.
          await new Promise<void>((go) => {
            held.unshift(go);
            if (held.length === 200) for (const answer of held) answer();
          });
          return requests.map(({ number }) => ({ ok: { number: number * 2 } }));
        });
        const numbers = Array.from({ length: 200 }, (_, number) => number);
        const replies = await Promise.all(numbers.map((number) => send(sender, double, { number })));
        expect(replies).toEqual(numbers.map((number) => ({ number: number * 2 })));
      });
    });

    describe('values', () => {
      it('carries any JSON value unchanged and shares nothing', async () => {
        const { sender, answerer } = await bus();
        const received: unknown[] = [];
        answerer.handle(echo, async (requests) => {
          received.push(...requests);
          return requests.map((request) => ({ ok: request }));
        });
        await fc.assert(
          fc.asyncProperty(fc.jsonValue({ noUnicodeString: false }), async (value) => {
            received.length = 0;
            const request = { value };
            const reply = await send(sender, echo, request);
            const expected = JSON.parse(JSON.stringify(request)) as unknown;
            expect(reply).toStrictEqual(expected);
            expect(received[0]).toStrictEqual(expected);
            if (typeof value === 'object' && value !== null) {
              expect((received[0] as { value: unknown }).value).not.toBe(value);
              expect(reply.value).not.toBe((received[0] as { value: unknown }).value);
            }
          }),
          { numRuns: 200 },
        );
      });

      it('carries a value only when JSON keeps all of it, in requests and in replies', async () => {
        const { sender, answerer } = await bus();
        let reply: unknown;
        answerer.handle(echo, async (requests) => requests.map(() => ({ ok: { value: reply } })));
        const anything = fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withSet: true,
          withTypedArray: true,
          withSparseArray: true,
          withNullPrototype: true,
          maxDepth: 3,
        });
        let refused = 0;
        await fc.assert(
          fc.asyncProperty(anything, async (value) => {
            reply = null;
            const [asRequest] = await sender.request(echo, [{ value }]);
            reply = value;
            const [asReply] = await sender.request(echo, [{ value: 1 }]);
            const isKept = isKeptByJson(value);
            refused += isKept ? 0 : 1;
            expect('ok' in asRequest!).toBe(isKept);
            expect('ok' in asReply!).toBe(isKept);
          }),
          { numRuns: 500 },
        );
        expect(refused).toBeGreaterThan(0);
      });

      it.each<[string, unknown]>([
        ['a Date', new Date(0)],
        ['a Map', new Map([[1, 2]])],
        ['a Set', new Set([1])],
        ['a Buffer', Buffer.from('x')],
        ['a class instance', new (class Task {})()],
        ['an Array subclass', new (class Rows extends Array<number> {})(1)],
        ['an Error', new Error('x')],
        ['a function', () => undefined],
        ['a toJSON method', { toJSON: () => 'x' }],
        ['a bigint', 1n],
        ['NaN', Number.NaN],
        ['Infinity', [Number.POSITIVE_INFINITY]],
        ['an undefined slot', [undefined]],
        ['a hole', [1, , 2]],
        ['a symbol', { member: Symbol('x') }],
        ['a symbol as key', { [Symbol('x')]: 1 }],
        ['a boxed number', new Number(1)],
        ['a cycle', cycle()],
      ])('refuses %s for its call alone, by name', async (_what, value) => {
        const { sender, answerer } = await bus();
        echoes(answerer);
        const outcomes = await sender.request(echo, [{ value: 1 }, { value }, { value: 3 }]);
        expect(outcomes).toEqual([
          { ok: { value: 1 } },
          { error: { code: 'INTERNAL', message: expect.stringContaining('only plain JSON crosses the bus: value.value') } },
          { ok: { value: 3 } },
        ]);
        expect(logged('error')).toHaveLength(1);
      });

      it('drops undefined members, as JSON does', async () => {
        const { sender, answerer } = await bus();
        echoes(answerer);
        expect(await send(sender, echo, { value: { kept: 1, dropped: undefined } })).toStrictEqual({ value: { kept: 1 } });
      });

      it('refuses a reply that is no plain JSON, or none, for its call alone', async () => {
        const { sender, answerer } = await bus();
        const replies = [{ ok: { value: 1 } }, { ok: { value: new Date(0) } }, { ok: undefined }, {}, { ok: { value: 2 } }];
        answerer.handle(echo, async () => replies as never);
        const outcomes = await sender.request(
          echo,
          replies.map((_, value) => ({ value })),
        );
        const internal = expect.objectContaining({ code: 'INTERNAL' });
        expect(outcomes).toEqual([
          { ok: { value: 1 } },
          ...Array.from({ length: 3 }, () => ({ error: internal })),
          { ok: { value: 2 } },
        ]);
        expect(logged('error')).toHaveLength(3);
      });

      it('carries a message near the limit and refuses one over it, either way', async () => {
        const { sender, answerer } = await bus();
        const big = (bytes: number): string => 'x'.repeat(bytes);
        answerer.handle(echo, async (requests) =>
          requests.map(({ value }) => ({ ok: { value: typeof value === 'number' ? big(value) : (value as string).length } })),
        );
        const near = MESSAGE_BYTES_MAX - 1_024;
        expect(await send(sender, echo, { value: big(near) })).toEqual({ value: near });
        expect(((await send(sender, echo, { value: near })).value as string).length).toBe(near);
        const tooLarge = { error: { code: 'TOO_LARGE' } };
        expect(await sender.request(echo, [{ value: big(MESSAGE_BYTES_MAX) }, { value: 1 }])).toMatchObject([tooLarge, tooLarge]);
        // Bytes are counted, not characters.
        expect(await sender.request(echo, [{ value: 'ü'.repeat(MESSAGE_BYTES_MAX / 2) }])).toMatchObject([tooLarge]);
        expect(await sender.request(echo, [{ value: MESSAGE_BYTES_MAX }])).toMatchObject([tooLarge]);
      });
    });

    describe('events', () => {
      /** Resolves once the listener was told `count` times. */
      function listen(member: Messenger, count: number): { heard: number[]; all: Promise<void>; stop: () => void } {
        const heard: number[] = [];
        let stop = (): void => undefined;
        const all = new Promise<void>((done) => {
          stop = member.subscribe(happened, ({ number }) => {
            heard.push(number);
            if (heard.length === count) done();
          });
        });
        return { heard, all, stop };
      }

      it('tells every listener of every member, in order, and nobody else', async () => {
        const { sender, all } = await bus();
        const listeners = [...all, ...all].map((member) => listen(member, 3));
        let isTold = false;
        all[0]!.subscribe(elsewhere, () => (isTold = true));
        await transport.settle?.(all);
        for (const number of [1, 2, 3]) sender.publish(happened, { number });
        await Promise.all(listeners.map((listener) => listener.all));
        for (const { heard } of listeners) expect(heard).toEqual([1, 2, 3]);
        expect(isTold).toBe(false);
      });

      it('never tells within the call of publish, and not after the end of the listening', async () => {
        const { sender, answerer, all } = await bus();
        const stopped = listen(answerer, 1);
        const listening = listen(answerer, 2);
        await transport.settle?.(all);
        sender.publish(happened, { number: 1 });
        expect(listening.heard).toEqual([]);
        await stopped.all;
        stopped.stop();
        sender.publish(happened, { number: 2 });
        await listening.all;
        expect(stopped.heard).toEqual([1]);
      });

      it('gives each listener its own copy', async () => {
        const { sender, answerer, all } = await bus();
        const payload = { number: 1 };
        const copies: unknown[] = [];
        const told = new Promise<void>((done) => {
          for (const _listener of [1, 2]) {
            answerer.subscribe(happened, (copy) => {
              copies.push(copy);
              if (copies.length === 2) done();
            });
          }
        });
        await transport.settle?.(all);
        sender.publish(happened, payload);
        await told;
        expect(copies).toEqual([payload, payload]);
        expect(copies[0]).not.toBe(copies[1]);
        expect(copies).not.toContain(payload);
      });

      it('goes on when a listener throws or a payload is wrong, and logs both', async () => {
        const { sender, answerer, all } = await bus();
        answerer.subscribe(happened, () => {
          throw new Error('the listener is broken');
        });
        const listening = listen(answerer, 1);
        await transport.settle?.(all);
        sender.publish(happened, { number: 'many' as unknown as number });
        sender.publish(happened, { number: new Date(0) as unknown as number });
        sender.publish(happened, { number: 5 });
        await listening.all;
        expect(listening.heard).toEqual([5]);
        const text = JSON.stringify(logged('error'));
        expect(text).toContain('the listener is broken');
        expect(text).toContain('an event cannot cross the bus');
      });
    });

    describe('drain', () => {
      it('waits for what is being answered, refuses what is new, and can be called twice', async () => {
        const { sender, answerer, all } = await bus();
        let release = (): void => undefined;
        const called = new Promise<void>((reached) => {
          answerer.handle(echo, async (requests) => {
            reached();
            await new Promise<void>((go) => (release = go));
            return requests.map(({ value }) => ({ ok: { value } }));
          });
        });
        const inFlight = sender.request(echo, [{ value: 'taken' }]);
        await called;
        let isDrained = false;
        const drained = answerer.drain().then(() => (isDrained = true));
        if (all.length === 1) {
          expect(await sender.request(echo, [{ value: 'late' }])).toMatchObject([{ error: { code: 'UNAVAILABLE' } }]);
        }
        expect(isDrained).toBe(false);
        release();
        expect(await inFlight).toEqual([{ ok: { value: 'taken' } }]);
        await drained;
        await answerer.drain();
        expect(await answerer.request(echo, [{ value: 'later' }])).toMatchObject([{ error: { code: 'UNAVAILABLE' } }]);
        expect(() => answerer.publish(happened, { number: 1 })).not.toThrow();
      });
    });

    it('takes one handler for an operation of a member', async () => {
      const { answerer } = await bus();
      echoes(answerer);
      expect(() => echoes(answerer)).toThrow('conformance.echo');
    });

    if (transport.members_max < 3) return;

    it('gives each message to one member of the group', async () => {
      const { sender, all } = await bus(3);
      const counts = [0, 0];
      for (const [index, member] of all.slice(1).entries()) {
        member.handle(echo, async (requests) => {
          counts[index] = (counts[index] as number) + 1;
          return requests.map(({ value }) => ({ ok: { value } }));
        });
      }
      await transport.settle?.(all);
      await Promise.all(Array.from({ length: 100 }, (_, value) => send(sender, echo, { value })));
      expect((counts[0] as number) + (counts[1] as number)).toBe(100);
      for (const count of counts) expect(count).toBeGreaterThan(0);
    });
  });
}

function cycle(): unknown {
  const self: { inner?: unknown } = {};
  self.inner = [self];
  return self;
}

/** What the rule means, said another way: writing and reading back gives the same value, but for dropped undefined members. */
function isKeptByJson(value: unknown): boolean {
  if (value === undefined) return true; // As a member it is dropped.
  let back: unknown;
  try {
    back = JSON.parse(JSON.stringify(value));
  } catch {
    return false;
  }
  return isDeepStrictEqual(settled(value), settled(back));
}

/** A plain object's members; a class of its own, so that it equals no Map and no array. */
class Members {
  constructor(readonly entries: [string, unknown][]) {}
}

/** Plain objects without their undefined members and with one prototype, -0 as 0; all else as it is. */
function settled(value: unknown): unknown {
  if (Object.is(value, -0)) return 0;
  if (Array.isArray(value) && !isDeepStrictEqual(Object.keys(value), [...value.keys()].map(String))) return Symbol('a hole');
  if (Array.isArray(value)) return value.map(settled);
  if (typeof value !== 'object' || value === null) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype && Object.getPrototypeOf(prototype) !== null) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return new Members(members.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, settled(member)]));
}
