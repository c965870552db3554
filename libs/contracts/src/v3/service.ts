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

export const SERVICE_OPERATIONS: readonly Operation[] = [getAlive, getTime, getHealth];
