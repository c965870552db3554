/** What Nest says about itself, at the level where it belongs: its list of wired modules interests nobody but its developers. */
import type { Logger } from '@jobmon/runtime';
import type { LoggerService } from '@nestjs/common';

export class NestLog implements LoggerService {
  constructor(private readonly out: Logger) {}

  log(message: unknown, ...rest: unknown[]): void {
    this.out.debug({ rest }, String(message));
  }

  warn(message: unknown, ...rest: unknown[]): void {
    this.out.warn({ rest }, String(message));
  }

  error(message: unknown, ...rest: unknown[]): void {
    this.out.error({ rest }, String(message));
  }

  fatal(message: unknown, ...rest: unknown[]): void {
    this.out.fatal({ rest }, String(message));
  }
}
