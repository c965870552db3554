/** One Nest application over Fastify: the api's routes, and whatever other modules of the house run in the same process. */
import { healthModule, NestLog, type Health } from '@jobmon/messaging/service';
import { Module, type DynamicModule, type OnModuleDestroy } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { fastify, type FastifyInstance } from 'fastify';
import { BODY_BYTES_MAX, acceptBodies } from './body';
import type { ApiContext } from './context';
import { registerDocumentation } from './documentation';
import { healthOf } from './health';
import { guardRequests, SECURITY_HEADERS } from './guard';
import { answerNotFound, sendError } from './refusal';
import { logRequests, requestIdOf } from './request-log';
import { registerRoutes } from './routes';

/**
 * Callers and what stands between them and us keep idle connections for up to 75 s (aiohttp 15 s), and lose a request when the server
 * closes first; spec/http-api-execution.md trap 13.
 */
const KEEP_ALIVE_MS = 80_000;
/** A request must have arrived whole within this time: 64 MiB over a slow line, and an end for one that trickles for ever. */
const ARRIVAL_MS_MAX = 120_000;
/** Longest parameter in a path: a name of 255 characters (cluster, queue, tool), in the units in which JavaScript counts, two for some. */
const PARAMETER_CHARS_MAX = 255 * 2;
/** While the server closes: pause between two looks whether anything is still in flight. */
const CLOSE_LOOK_MS = 50;
/** What is in flight when the server closes is given this long; whoever asked asks again at the next start. */
const CLOSE_PATIENCE_MS = 5_000;

@Module({})
class ApiModule {}

@Module({})
class ProcessModule {}

/** Ends with the application what only it asks. */
class OwnHealth implements OnModuleDestroy {
  constructor(private readonly health: Health) {}

  onModuleDestroy(): void {
    this.health.close();
  }
}

/** The part of the api that Nest wires: health. The routes of the operations are made by `createApp`. */
export function apiModule(context: ApiContext): DynamicModule {
  const health = context.health ?? healthOf(context);
  return {
    module: ApiModule,
    imports: [healthModule(health, { isCauseTold: false })],
    providers: context.health === undefined ? [{ provide: OwnHealth, useValue: new OwnHealth(health) }] : [],
  };
}

/** Nest's adapter, but every refusal has one of the api's own shapes, whoever refuses, and no request passes Express middleware. */
class ApiAdapter extends FastifyAdapter {
  /** Nothing of the house is Express middleware, so what carries it is left out. */
  override async init(): Promise<void> {}

  override setErrorHandler(): never {
    return undefined as never;
  }

  override setNotFoundHandler(): never {
    return undefined as never;
  }
}

/**
 * The application, initialized and not listening yet: `await app.listen({ port, host })`, then `await app.getUrl()`.
 * `modules` are those of other services that share the process. `await app.close()` ends streams and long polls, answers what
 * is in flight and then stops: services that close in `onApplicationShutdown` outlive the last request.
 */
export async function createApp(context: ApiContext, modules: readonly DynamicModule[]): Promise<NestFastifyApplication> {
  // Made here and handed over: the older Fastify that Nest brings along costs 56 µs more a request (docs/decisions/http-server.md).
  const server: FastifyInstance = fastify({
    logger: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: ARRIVAL_MS_MAX,
    bodyLimit: BODY_BYTES_MAX,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: PARAMETER_CHARS_MAX },
    requestIdHeader: false,
    genReqId: (raw) => requestIdOf(raw.headers['x-request-id']),
    // What the router itself refuses (a URL that cannot be decoded, a parameter beyond all bounds) passes by all hooks.
    frameworkErrors: (thrown, request, reply) => sendError(thrown, request, reply.headers(SECURITY_HEADERS), context.log),
  });
  const adapter = new ApiAdapter(server as never);
  const closing = new AbortController();
  server.addHook('preClose', (done) => {
    closing.abort();
    done();
  });
  closeConnections(server);
  server.setErrorHandler((thrown, request, reply) => sendError(thrown, request, reply, context.log));
  server.setNotFoundHandler(answerNotFound);
  logRequests(server, context.log);
  guardRequests(server, context);
  acceptBodies(server);
  registerDocumentation(server);
  registerRoutes(server, context, closing.signal);

  const root: DynamicModule = { module: ProcessModule, imports: [apiModule(context), ...modules] };
  const options = { bodyParser: false, abortOnError: false, logger: new NestLog(context.log) };
  const app = await NestFactory.create<NestFastifyApplication>(root, adapter, options);
  try {
    await app.init();
  } catch (error) {
    // Services that were started already would go on, and keep the process from its end.
    await app.close();
    throw error;
  }
  return app;
}

/**
 * Ends all connections once the server closes and nothing is in flight, or not for 5 s. Node ends the idle ones by itself, but takes one that was
 * opened and has not asked anything yet for a busy one, and would wait for it for ever.
 */
function closeConnections(server: FastifyInstance): void {
  let inFlight = 0;
  server.addHook('onRequest', (_request, reply, done) => {
    inFlight += 1;
    // Comes once for each request, also when the caller hung up in the middle.
    reply.raw.once('close', () => {
      inFlight -= 1;
    });
    done();
  });
  server.addHook('preClose', (done) => {
    const since = performance.now();
    const timer = setInterval(() => {
      if (inFlight === 0 || performance.now() - since > CLOSE_PATIENCE_MS) server.server.closeAllConnections();
    }, CLOSE_LOOK_MS);
    server.server.once('close', () => clearInterval(timer));
    done();
  });
}
