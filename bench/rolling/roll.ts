/** Replaces the processes of a service as a cluster does it: a new one up and ready, then SIGTERM to an old one; one after the other. */
import type { Balancer, ServiceName, ServiceProcess, Services } from '@jobmon/testkit';
import type { Release } from './older';

/** One process that took another one's place. */
export interface Replacement {
  readonly service: ServiceName;
  /** Of the new one. */
  readonly release: string;
  /** Until the new one was ready. */
  readonly up_seconds: number;
  /** From SIGTERM until the old one had ended. */
  readonly down_seconds: number;
  /** The old one's exit code, or the signal that ended it. */
  readonly exit: number | NodeJS.Signals;
}

/** Starts a process and tells the balancer of an api. */
export async function beginMember(services: Services, service: ServiceName, balancer: Balancer): Promise<ServiceProcess> {
  const started = await services.begin(service).ready();
  if (service === 'api') balancer.add(started.url!);
  return started;
}

/** Replaces all processes of a service that run now by those of a release. */
export async function roll(
  services: Services,
  service: ServiceName,
  release: Release,
  balancer: Balancer,
  told: (replacement: Replacement) => void,
): Promise<void> {
  services.root = release.root;
  for (const old of services.alive(service)) {
    const began = performance.now();
    await beginMember(services, service, balancer);
    const ready = performance.now();
    const url = old.url;
    const exit = await old.end('SIGTERM');
    // Only now: until then it is for the balancer to find out that the old one is not ready.
    if (service === 'api') balancer.remove(url!);
    const gone = performance.now();
    told({ service, release: release.name, up_seconds: (ready - began) / 1_000, down_seconds: (gone - ready) / 1_000, exit });
  }
}
