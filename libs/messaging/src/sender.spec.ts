import { z } from 'zod';
import { JobmonError, MESSAGE_BYTES_MAX, operation } from '@jobmon/contracts';
import { createLogger } from '@jobmon/runtime';
import { inProcessMessenger } from './in-process';
import type { MessageContext } from './messenger';
import { createSender } from './sender';

const value = z.object({ value: z.string() });
const batched = operation({ name: 'test.batched', owner: 'api', summary: '', request: value, reply: value, batch: 'report' });
const other = operation({ name: 'test.other', owner: 'api', summary: '', request: value, reply: value, batch: 'report' });
const single = operation({ name: 'test.single', owner: 'api', summary: '', request: value, reply: value });

function setup() {
  const messenger = inProcessMessenger({ log: createLogger({ service: 'test', level: 'silent' }) });
  const messages: { operation: string; values: string[]; context: MessageContext }[] = [];
  const gates: (() => void)[] = [];
  for (const op of [batched, other, single]) {
    messenger.handle(op, async (requests, context) => {
      messages.push({ operation: op.name, values: requests.map((request) => request.value), context });
      if (requests[0]?.value === 'held') await new Promise<void>((go) => gates.push(go));
      return requests.map((request) =>
        request.value === 'bad'
          ? { error: { code: 'CONFLICT', message: 'bad' } as const }
          : { ok: { value: request.value.slice(0, 9) } },
      );
    });
  }
  return { sender: createSender(messenger), messages, gates };
}

it('makes one message of calls that wait, and gives each its own reply or error', async () => {
  const { sender, messages, gates } = setup();
  const held = sender.send(batched, { value: 'held' }, { request_id: 'r-0' });
  while (messages.length === 0) await new Promise((go) => setImmediate(go));
  const waiting = ['a', 'bad', 'c'].map((text, index) => sender.send(batched, { value: text }, { request_id: `r-${index + 1}` }));
  const elsewhere = await sender.send(other, { value: 'x' });
  gates[0]!();
  expect(await held).toEqual({ value: 'held' });
  expect(await Promise.allSettled(waiting)).toMatchObject([
    { value: { value: 'a' } },
    { reason: { name: 'JobmonError', code: 'CONFLICT' } },
    { value: { value: 'c' } },
  ]);
  expect(elsewhere).toEqual({ value: 'x' });
  expect(messages).toEqual([
    { operation: 'test.batched', values: ['held'], context: { request_id: 'r-0' } },
    { operation: 'test.other', values: ['x'], context: {} },
    { operation: 'test.batched', values: ['a', 'bad', 'c'], context: { request_id: 'r-1,r-2,r-3' } },
  ]);
});

it('tells the trace of a message where it is the only one', async () => {
  for (const [second, told] of [
    ['t-1', 't-1'],
    [undefined, 't-1'],
    ['t-2', undefined],
  ]) {
    const { sender, messages, gates } = setup();
    const held = sender.send(batched, { value: 'held' });
    while (messages.length === 0) await new Promise((go) => setImmediate(go));
    const waiting = ['t-1', second].map((trace_id) =>
      sender.send(batched, { value: 'x' }, trace_id === undefined ? {} : { trace_id }),
    );
    gates[0]!();
    await Promise.all([held, ...waiting]);
    expect(messages[1]).toMatchObject({ values: ['x', 'x'], context: told === undefined ? {} : { trace_id: told } });
    expect(Object.keys(messages[1]!.context)).toHaveLength(told === undefined ? 0 : 1);
  }
});

it('sends operations without a batch key each as a message of its own', async () => {
  const { sender, messages } = setup();
  await Promise.all(['a', 'b'].map((text) => sender.send(single, { value: text })));
  expect(messages.map(({ values }) => values)).toEqual([['a'], ['b']]);
});

it('splits by the bytes that the bus takes, and refuses the one call that is over it', async () => {
  const { sender, messages } = setup();
  const third = 'ü'.repeat(MESSAGE_BYTES_MAX / 6);
  const calls = [third, third, 'z'.repeat(MESSAGE_BYTES_MAX), third, 'end'].map((text) => sender.send(batched, { value: text }));
  const settled = await Promise.allSettled(calls);
  expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
  expect((settled[2] as PromiseRejectedResult).reason).toMatchObject({ code: 'TOO_LARGE' });
  expect(messages.map(({ values }) => values.length)).toEqual([2, 2]);
});

it('refuses a value that is no JSON for its call alone', async () => {
  const { sender } = setup();
  const calls = [{ value: 'a' }, { value: 1n as unknown as string }, { value: 'c' }].map((request) =>
    sender.send(batched, request),
  );
  expect(await Promise.allSettled(calls)).toMatchObject([
    { value: { value: 'a' } },
    { reason: { code: 'INTERNAL', message: expect.stringContaining('a bigint') } },
    { value: { value: 'c' } },
  ]);
});

it('drains what it took', async () => {
  const { sender, gates, messages } = setup();
  const held = sender.send(batched, { value: 'held' });
  while (messages.length === 0) await new Promise((go) => setImmediate(go));
  const waiting = sender.send(batched, { value: 'a' });
  const drained = sender.drain();
  const refused = sender.send(batched, { value: 'late' });
  await expect(refused).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await expect(refused).rejects.toBeInstanceOf(JobmonError);
  gates[0]!();
  await drained;
  expect([await held, await waiting]).toEqual([{ value: 'held' }, { value: 'a' }]);
});
