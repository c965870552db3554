/** All that crosses a wire. Pure and browser-safe: no import of Node, of a database or of another part of this house. */
export * from './agent';
export * from './errors';
export * from './history';
export * from './id';
export * from './machine';
export * from './operation';
export * from './operations';
export * from './resources';
export * from './task';
export * from './task-instance';
export * from './tool';
export * from './v3';
export * from './version';
export * from './workflow';
export * from './workflow-control';
export * from './workflow-run';
export * from './workflow-view';
