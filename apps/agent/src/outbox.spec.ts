import { Outbox } from './outbox';

const report = (task_instance_id: number, status: 'R' | 'D' = 'D', stdout_log = '') => ({ task_instance_id, status, stdout_log });
const idsOf = (batch: { task_instance_id: number }[]) => batch.map(({ task_instance_id }) => task_instance_id);

describe('the outbox', () => {
  it('gives reports in the order in which their attempts came, an end in place of an R that was not sent', () => {
    const outbox = new Outbox();
    for (const id of [3, 1, 2]) outbox.add(report(id, 'R'));
    outbox.add(report(1, 'D'));
    expect(outbox.take()).toEqual([report(3, 'R'), report(1, 'D'), report(2, 'R')]);
    expect(outbox.take()).toEqual([]);
  });

  it('takes at most 1,000 at a time, and fewer when they are long', () => {
    const outbox = new Outbox();
    for (let id = 1; id <= 2_500; id++) outbox.add(report(id));
    expect([outbox.take(), outbox.take(), outbox.take()].map((batch) => batch.length)).toEqual([1_000, 1_000, 500]);
    for (let id = 1; id <= 10; id++) outbox.add(report(id, 'D', 'x'.repeat(3 * 1024 * 1024)));
    expect(idsOf(outbox.take())).toEqual([1, 2]);
    expect(idsOf(outbox.take())).toEqual([3, 4]);
  });

  it('puts a batch back to the front; what came meanwhile is newer', () => {
    const outbox = new Outbox();
    for (const id of [1, 2]) outbox.add(report(id, 'R'));
    const batch = outbox.take();
    outbox.add(report(3, 'R'));
    outbox.add(report(2, 'D'));
    outbox.giveBack(batch);
    expect(outbox.take()).toEqual([report(1, 'R'), report(2, 'D'), report(3, 'R')]);
    expect(outbox.size).toBe(0);
  });

  it('is full by number and by length, and is not when they have left', () => {
    const many = new Outbox();
    for (let id = 1; id < 1_000; id++) many.add(report(id));
    expect(many.isFull).toBe(false);
    many.add(report(1_000));
    expect(many.isFull).toBe(true);
    const batch = many.take();
    expect(many.isFull).toBe(false);
    many.giveBack(batch);
    expect(many.isFull).toBe(true);
    const long = new Outbox();
    for (let id = 1; id <= 5; id++) long.add(report(id, 'D', 'x'.repeat(8 * 1024 * 1024)));
    expect(long.isFull).toBe(true);
    while (long.take().length > 0);
    expect(long.isFull).toBe(false);
  });
});
