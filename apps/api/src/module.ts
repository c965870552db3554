/**
 * The api: all HTTP of the house. It owns definitions and reads, and sends every change of a status over the bus. It holds no
 * state: what it answers comes from the database or from another service.
 */
import { Module, type DynamicModule } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import type { Database } from '@jobmon/entities';
import type { Messenger } from '@jobmon/messaging';
import type { Logger } from 'pino';
import { HealthController } from './health';

export { createApp } from './app';

/** What the api is started with. */
export interface ApiContext {
  readonly config: {
    readonly http: {
      /** Further values of the Host header that are served, as `name` (any port) or `name:port`. */
      readonly allowed_hosts?: readonly string[];
      /** Web origins that may call, e.g. `https://jobs.example.org`; only they are given CORS headers. */
      readonly allowed_origins?: readonly string[];
    };
  };
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /** Every call of `/api/v4` that is no GET must carry it as `Authorization: Bearer <token>`. Not empty. */
  readonly token: string;
  /** Length of an agent's lease in seconds: how long an agent may be silent. */
  readonly agent_lease_seconds: number;
}

/** Nest's name for the context. */
export const API_CONTEXT = Symbol('api context');

/** The part of the api that Nest wires: health. The routes of the operations are made by `createApp`. */
@Module({})
export class ApiModule {}

export function apiModule(context: ApiContext): DynamicModule {
  return {
    module: ApiModule,
    imports: [TerminusModule.forRoot({ logger: false })],
    controllers: [HealthController],
    providers: [{ provide: API_CONTEXT, useValue: context }],
  };
}
