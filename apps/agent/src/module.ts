/** The agent as a part of a Nest application: it starts with the application and lets go before the application's own server closes. */
import { hostname, userInfo } from 'node:os';
import { Inject, Module, type BeforeApplicationShutdown, type DynamicModule, type OnApplicationBootstrap } from '@nestjs/common';
import { CLUSTER_TYPES } from '@jobmon/cluster';
import type { Config, Logger } from '@jobmon/runtime';
import { Agent, type AgentSettings } from './agent';

/** What the agent is started with. */
export interface AgentContext {
  readonly config: { readonly agent: Pick<Config['agent'], 'cores' | 'memory_gib' | 'state_directory' | 'any_user'> };
  readonly log: Logger;
  /** Where the api answers; it may come up later than the agent, and come back elsewhere when it is asked for again. */
  readonly findApi: AgentSettings['findApi'];
  /** Whose workflows it runs. The process's user when absent. */
  readonly user?: string;
  /** Cluster name to cluster type. One cluster of each known type, under the type's name, when absent. */
  readonly clusters?: Readonly<Record<string, string>>;
  /** Version of the program, for views. */
  readonly version?: string;
}

const AGENT = Symbol('agent');

@Module({})
class AgentModule implements OnApplicationBootstrap, BeforeApplicationShutdown {
  constructor(@Inject(AGENT) private readonly agent: Agent) {}

  onApplicationBootstrap(): void {
    this.agent.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.agent.stop();
  }
}

/** Makes the module. Its bootstrap fails with a JobmonError when the state directory can't be used. */
export function agentModule(context: AgentContext): DynamicModule {
  const { config, log, findApi, user, clusters, version } = context;
  const agent = new Agent({
    ...config.agent,
    findApi,
    clusters: clusters ?? Object.fromEntries(CLUSTER_TYPES.map((type) => [type, type])),
    user: user ?? userInfo().username,
    hostname: hostname(),
    version: version ?? '',
    log,
  });
  return { module: AgentModule, providers: [{ provide: AGENT, useValue: agent }] };
}
