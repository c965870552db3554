/** One Nest application over Fastify: the api's routes, and whatever other modules of the house run in the same process. */
import { Module, type DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { apiModule, type ApiContext } from './module';

@Module({})
class House {}

/**
 * The application, initialized and not listening yet: `await app.listen({ port, host })`, then `await app.getUrl()`.
 * `modules` are those of other services that share the process; they are closed after the last request was answered,
 * if they close in `onApplicationShutdown`.
 */
export async function createApp(context: ApiContext, modules: readonly DynamicModule[]): Promise<NestFastifyApplication> {
  const root: DynamicModule = { module: House, imports: [apiModule(context), ...modules] };
  const app = await NestFactory.create<NestFastifyApplication>(root, new FastifyAdapter(), { bodyParser: false, abortOnError: false });
  await app.init();
  return app;
}
