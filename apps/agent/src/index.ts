/** The agent: as a part of a house, and as a process of its own. */
export { agentModule, type AgentContext } from './module';
export { runAgent, type AgentFlags } from './run';
