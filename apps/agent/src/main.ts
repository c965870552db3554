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
  await findServer(); // Nobody to serve is said at once; one that goes away later is waited for.
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
