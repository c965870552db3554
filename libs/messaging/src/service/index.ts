/**
 * What makes a process of a service: an entrance of its own, `@jobmon/messaging/service`, since it loads Nest, which nobody needs
 * who only sends and handles messages.
 */
export { Health, healthModule, type Check } from './health';
export { logStreamNeed, openLogStream } from './log';
export { NestLog } from './nest-log';
export {
  startModules,
  startService,
  type ServiceContext,
  type ServiceDefinition,
  type ServiceSettings,
  type Work,
} from './service';
