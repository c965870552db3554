/** The api as a process: `node dist/apps/api/main.js [--host ADDRESS] [--port N] [--open]`. */
import 'reflect-metadata';
import { JobmonError } from '@jobmon/contracts';
import { databaseNeed } from '@jobmon/entities';
import { startService, type Work } from '@jobmon/messaging/service';
import type { Config } from '@jobmon/runtime';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createApp, givenToken, refuseStrangers } from './module';
import { leaveSigns } from './sign-of-life';

/** Where the api listens when no port is given. */
const PORT_DEFAULT = 8070;

void startService({
  name: 'api',
  flags: { host: 'http.host', port: 'http.port', 'open!': 'http.open' },
  check: (config) => {
    refuseStrangers(config);
    tokenOf(config);
  },
  needs: ({ config, log }) => ({ database: databaseNeed(config, log) }),
  isCalledByAddress: true,
  begin: async ({ config, log, instance, messenger, database, health, stopping }): Promise<Work> => {
    const app = await createApp({ config, log, messenger, database, health, stopping, token: tokenOf(config) }, []);
    const url = await listen(app, config);
    const endSigns = leaveSigns({ database, messenger, log, instance, lease_seconds: config.agent.lease_seconds });
    const close = async (): Promise<void> => {
      await app.close();
      await endSigns();
    };
    return { url, close };
  },
});

/**
 * One process can't make a token for all of them, and a token that changes with each start is lost to whoever has it. With login on there is none:
 * everybody shows a credential of his own.
 */
function tokenOf(config: Config): string | undefined {
  if (config.auth.mode === 'on') return undefined;
  const token = givenToken(config);
  if (token !== undefined) return token;
  throw new JobmonError(
    'MALFORMED',
    'the api needs a token that all its processes and their callers share: set JOBMON__HTTP__TOKEN (`openssl rand -hex 24` makes one)',
  );
}

async function listen(app: NestFastifyApplication, { http }: Config): Promise<string> {
  const { host, port = PORT_DEFAULT } = http;
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new JobmonError('CONFLICT', `port ${port} is in use: stop what listens there, or name another by JOBMON__HTTP__PORT`);
    throw new JobmonError(
      'CONFLICT',
      `cannot listen on ${host} port ${port} (${code}): see JOBMON__HTTP__HOST and JOBMON__HTTP__PORT`,
    );
  }
  const address = app.getHttpServer().address() as { address: string; port: number };
  return `http://${address.address.includes(':') ? `[${address.address}]` : address.address}:${address.port}`;
}
