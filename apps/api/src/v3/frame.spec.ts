/** Frame strings, letter by letter. */
import { frameString } from './frame';

describe('a frame string', () => {
  it('C2 C20 C24 stand column by column, rows numbered as text', () => {
    const rows = [
      { TASK_ID: 101, STATUS: 'DONE', other: 1 },
      { TASK_ID: 102, STATUS: 'ERROR' },
    ];
    expect(frameString(['TASK_ID', 'STATUS'], rows)).toBe('{"TASK_ID":{"0":101,"1":102},"STATUS":{"0":"DONE","1":"ERROR"}}');
  });

  it('C2 C20 C24 without rows are every column with nothing in it', () => {
    expect(frameString(['TASK_ID', 'STATUS'], [])).toBe('{"TASK_ID":{},"STATUS":{}}');
  });

  it('C2 tells null where a row has no value, and keeps the numeric order of ten rows and more', () => {
    const rows = Array.from({ length: 12 }, (_, n) => (n === 11 ? {} : { A: n }));
    const { A } = JSON.parse(frameString(['A'], rows)) as { A: Record<string, unknown> };
    expect(Object.keys(A)).toEqual(Array.from({ length: 12 }, (_, n) => String(n)));
    expect(A['11']).toBeNull();
  });
});
