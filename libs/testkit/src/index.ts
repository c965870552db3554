/** What specs share. Imported by specs only. */
export * from './database';
export * from './factories';
export * from './history-replay';
export * from './house-process';
export * from './large-workflow';
export * from './python-client';
export * from './python-database';
export * from './tcp-proxy';
export * from './wire-recorder';
