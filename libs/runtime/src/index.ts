/** What every process needs before it does its own work: its settings, its log, and an orderly end. */
export * from './config';
export * from './database-url';
export * from './folder';
export * from './log-queue';
export * from './log-record';
export * from './log-shipper';
export * from './logging';
export * from './metrics';
export * from './need';
export * from './shutdown';
export * from './tls';
