/**
 * The api: all HTTP of the house. It owns definitions and reads, and sends every change of a status over the bus. It holds no
 * state: what it answers comes from the database or from another service.
 */
export { apiModule, createApp } from './app';
export type { ApiContext } from './context';
export { givenToken, refuseStrangers } from './listen';
