/** What the api answers about itself: the Python protocol's shared routes (spec/http-api-execution.md section 5). */
import { z } from 'zod';
import { DateText } from '../id';
import { operation, type Operation } from '../operation';

/** S1. */
export const getAlive = operation({
  protocol: 'S1',
  name: 'service.alive',
  owner: 'api',
  summary: 'The server answers.',
  http: { method: 'GET', path: '/api/v3/' },
  request: z.object({}),
  reply: z.object({ msg: z.string() }),
});

/** S2. The database's clock. */
export const getTime = operation({
  protocol: 'S2',
  name: 'service.time',
  owner: 'api',
  summary: "The database's clock.",
  http: { method: 'GET', path: '/api/v3/time' },
  request: z.object({}),
  reply: z.object({ time: DateText }),
});

/** S3. One round trip to the database. */
export const getHealth = operation({
  protocol: 'S3',
  name: 'service.health',
  owner: 'api',
  summary: 'The server reaches its database.',
  http: { method: 'GET', path: '/api/v3/health' },
  request: z.object({}),
  reply: z.object({ status: z.literal('OK') }),
});

/** S4. Always INTERNAL (500), for whoever wants to see how errors arrive. */
export const failOnPurpose = operation({
  protocol: 'S4',
  name: 'service.fail',
  owner: 'api',
  summary: 'Always an error.',
  http: { method: 'GET', path: '/api/v3/test_bad' },
  request: z.object({}),
  reply: z.object({}),
});

/** S5. Clients do not ask for it: there is no agreement about versions. */
export const getApiVersion = operation({
  protocol: 'S5',
  name: 'service.api_version',
  owner: 'api',
  summary: 'The version of this protocol.',
  http: { method: 'GET', path: '/api/v3/api_version' },
  request: z.object({}),
  reply: z.object({ status: z.literal('v3') }),
});

export const SERVICE_OPERATIONS: readonly Operation[] = [getAlive, getTime, getHealth, failOnPurpose, getApiVersion];
