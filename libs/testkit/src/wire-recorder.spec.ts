import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { summaryOf, WireRecorder } from './wire-recorder';

describe('the recorder', () => {
  let house: Server;
  let recorder: WireRecorder;

  beforeEach(async () => {
    house = createServer((request, response) => {
      const isRefused = request.url!.includes('refused');
      response.writeHead(isRefused ? 422 : 200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
      response.end(gzipSync(`{"host":"${request.headers.host}"}`));
    });
    await new Promise<void>((resolve) => house.listen(0, '127.0.0.1', resolve));
    recorder = await WireRecorder.start(`http://127.0.0.1:${(house.address() as AddressInfo).port}`);
  });
  afterEach(async () => {
    await recorder.stop();
    house.closeAllConnections();
    house.close();
  });

  it('passes requests on as they are, and writes both sides down with the operation that they are', async () => {
    const answer = await fetch(`${recorder.url}/api/v3/tool?client_jobmon_version=3.4.8`, {
      method: 'POST',
      body: '{"name":"é"}',
    });
    const host = recorder.targets[0].replace('http://', '');
    expect(await answer.json()).toEqual({ host });
    expect(recorder.exchanges).toEqual([
      {
        at: expect.any(Number) as number,
        method: 'POST',
        path: '/api/v3/tool',
        query: 'client_jobmon_version=3.4.8',
        request: '{"name":"é"}',
        status: 200,
        answer: `{"host":"${host}"}`,
        operation: 'E36 POST /tool',
      },
    ]);
    expect(recorder.of('E36')).toHaveLength(1);
    expect(recorder.of('E3')).toHaveLength(0);
  });

  it('tells static words from parameters, and counts what was asked and refused', async () => {
    for (const route of ['workflow/get_tasks/7', 'workflow/7', 'workflow/refused', 'no_such_route'])
      await fetch(`${recorder.url}/api/v3/${route}`);
    expect(summaryOf(recorder.exchanges)).toEqual([
      { operation: 'E42 GET /workflow/{workflow_args_hash}', requests: 2, not_200: { 422: 1 } },
      { operation: 'E51 GET /workflow/get_tasks/{workflow_id}', requests: 1, not_200: {} },
      { operation: 'GET /api/v3/no_such_route', requests: 1, not_200: {} },
    ]);
  });

  it('holds answers of an operation until as many callers have one as are to meet', async () => {
    recorder.meet('S2', 2);
    let answered = 0;
    const ask = (): Promise<void> => fetch(`${recorder.url}/api/v3/time`).then(() => void (answered += 1));
    const first = ask();
    await fetch(`${recorder.url}/api/v3/workflow/7`);
    while (recorder.of('S2').length < 1) await new Promise((resolve) => setTimeout(resolve, 2));
    expect(answered).toBe(0);
    await Promise.all([first, ask()]);
    await ask();
    expect(answered).toBe(3);
  });

  it('hangs up on its caller when the house is away, and writes that down as no answer', async () => {
    house.closeAllConnections();
    await new Promise((resolve) => house.close(resolve));
    await expect(fetch(`${recorder.url}/api/v3/time`)).rejects.toThrow();
    expect(recorder.exchanges.map(({ operation, status }) => [operation, status])).toEqual([['S2 GET /time', 0]]);
  });
});
