import { describeOnDatabases } from '@jobmon/testkit';
import { call, serve, type Served } from '../test/serve';

describeOnDatabases('the api over HTTP', (database) => {
  let served: Served;
  beforeAll(async () => {
    served = await serve(database());
  });
  afterAll(() => served.close());

  it('answers the shared routes of the Python protocol', async () => {
    expect((await call(served, 'GET', '/api/v3/')).json).toEqual({ msg: expect.any(String) });
    expect((await call(served, 'GET', '/api/v3/time')).json).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
    });
    expect((await call(served, 'GET', '/api/v3/health')).json).toEqual({ status: 'OK' });
    const redirect = await call(served, 'GET', '/api/v3');
    expect([redirect.status, redirect.headers.location]).toEqual([307, '/api/v3/']);
  });
});
