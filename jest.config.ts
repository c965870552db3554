import { availableParallelism } from 'node:os';
import type { Config } from 'jest';

/**
 * One Jest for the whole workspace. A spec runs against the sources: `@jobmon/<name>` is resolved by the same table as in
 * `tsconfig.base.json`. Databases and brokers come from `tools/test.mjs`, which sets `JOBMON_TEST_*`.
 */
const config: Config = {
  rootDir: '.',
  testEnvironment: 'node',
  testMatch: ['<rootDir>/{apps,libs,tools}/**/*.spec.ts'],
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, useDefineForClassFields: false },
        },
        module: { type: 'commonjs' },
      },
    ],
  },
  moduleNameMapper: {
    '^@jobmon/messaging/service$': '<rootDir>/libs/messaging/src/service/index.ts',
    '^@jobmon/(contracts|runtime|messaging|entities|client|cluster|testkit)$': '<rootDir>/libs/$1/src/index.ts',
    '^@jobmon/(api|state-machine|scheduler|reaper|log-sink|agent)$': '<rootDir>/apps/$1/src/module.ts',
    '^@jobmon/local$': '<rootDir>/apps/local/src/index.ts',
  },
  // Jest would leave one core free. Many specs wait most of their time for processes, leases and clients that sleep.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  testSequencer: '<rootDir>/tools/test-order.mjs',
  testTimeout: 60_000,
};

export default config;
