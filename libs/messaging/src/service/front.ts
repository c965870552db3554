/** The port of a service that people's requests never reach: health for a cluster's probes, metrics for Prometheus. */
import { JobmonError } from '@jobmon/contracts';
import { readMetrics, type Config, type Logger } from '@jobmon/runtime';
import { Controller, Get, Module, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { healthModule, type Health } from './health';
import { NestLog } from './nest-log';

export interface Front {
  /** Where health and metrics are, without a slash at its end. */
  readonly url: string;
  close(): Promise<void>;
}

/** The part of Fastify's reply that is used here. */
interface Reply {
  header(name: string, value: string): Reply;
  send(body: string): unknown;
}

@Controller('metrics')
class MetricsController {
  @Get()
  async metrics(@Res() reply: Reply): Promise<void> {
    const { content_type, text } = await readMetrics();
    reply.header('content-type', content_type).send(text);
  }
}

@Module({})
class FrontModule {}

/**
 * Listens at `service.host` and `service.port`.
 *
 * @throws JobmonError CONFLICT for a port in use, UNAVAILABLE for an address that can't be listened on.
 */
export async function openFront(settings: Config['service'], health: Health, log: Logger): Promise<Front> {
  const root = {
    module: FrontModule,
    imports: [healthModule(health, { isCauseTold: true })],
    controllers: [MetricsController],
  };
  const adapter = new FastifyAdapter({ forceCloseConnections: true });
  const app = await NestFactory.create<NestFastifyApplication>(root, adapter, { abortOnError: false, logger: new NestLog(log) });
  const { host, port } = settings;
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'EADDRINUSE'
      ? new JobmonError(
          'CONFLICT',
          `port ${port} of ${host} is in use: give this process another by JOBMON__SERVICE__PORT, or 0 for any free one`,
        )
      : new JobmonError(
          'UNAVAILABLE',
          `health and metrics can't listen on ${host} port ${port} (${code}): see JOBMON__SERVICE__HOST and JOBMON__SERVICE__PORT`,
        );
  }
  const address = app.getHttpServer().address() as { address: string; port: number };
  const name = address.address.includes(':') ? `[${address.address}]` : address.address;
  return { url: `http://${name}:${address.port}`, close: () => app.close() };
}
