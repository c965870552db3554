/**
 * An agent in a process of its own: `node dist/apps/agent/main.js`. Settings come from the environment and the configuration
 * file, the server from `JOBMON__HTTP__SERVICE_URL` or the client profile of this user.
 */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { findServer } from '@jobmon/client';
import { JobmonError } from '@jobmon/contracts';
import { createLogger, loadConfig, onShutdown } from '@jobmon/runtime';
import { agentModule } from './module';

async function main(): Promise<void> {
  const { config, warnings } = loadConfig({ env: process.env });
  const log = createLogger({ service: 'agent', level: config.log.level, destination: config.log.file });
  for (const warning of warnings) log.warn(warning);
  await findServer().catch((thrown: unknown) => {
    // Settings that can't be used are said at once; a server that is away, now or later, is waited for.
    if (JobmonError.from(thrown).code !== 'UNAVAILABLE') throw thrown;
    log.warn(`${JobmonError.from(thrown).message}; the agent waits for it`);
  });
  const app = await NestFactory.createApplicationContext(agentModule({ config, log, findApi: findServer }), {
    logger: false,
    abortOnError: false,
  });
  onShutdown(() => app.close(), { log });
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof JobmonError ? error.message : (error as Error).stack}\n`);
  process.exit(1);
});
