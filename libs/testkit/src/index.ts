/** What specs share. Imported by specs only. */
export * from './database';
export * from './execution-check';
export * from './execution-recovery';
export * from './factories';
export * from './history-replay';
export * from './house-process';
export * from './large-workflow';
export * from './login-provider';
export * from './mariadb-process';
export * from './nats-process';
export * from './python-client';
export * from './python-database';
export * from './services';
export * from './tcp-proxy';
export * from './wire-recorder';
