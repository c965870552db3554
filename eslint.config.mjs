// The import table of docs/architecture.md and the bans of the write path. The boundary rule needs nx's project graph, so lint
// runs through nx (`npm run lint`); tools/lint.spec.ts plants wrong imports and proves that it bites.
import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

/** Which layers a layer may import. One row a project; `local` alone may import apps, `cli` loads `local` and `agent`, `admin` the reaper. */
const MAY_IMPORT = {
  contracts: [],
  runtime: ['contracts'],
  messaging: ['contracts', 'runtime'],
  entities: ['contracts', 'runtime'],
  client: ['contracts'],
  cluster: ['contracts'],
  testkit: ['contracts', 'runtime', 'messaging', 'entities', 'client', 'cluster'],
  api: ['contracts', 'runtime', 'messaging', 'entities'],
  'state-machine': ['contracts', 'runtime', 'messaging', 'entities'],
  scheduler: ['contracts', 'runtime', 'messaging', 'entities'],
  reaper: ['contracts', 'runtime', 'messaging', 'entities'],
  'log-sink': ['contracts', 'runtime', 'messaging', 'entities'],
  admin: ['contracts', 'runtime', 'messaging', 'entities', 'reaper'],
  agent: ['contracts', 'runtime', 'client', 'cluster'],
  cli: ['contracts', 'client', 'local', 'agent'],
  local: [
    'contracts',
    'runtime',
    'messaging',
    'entities',
    'client',
    'cluster',
    'api',
    'state-machine',
    'scheduler',
    'reaper',
    'log-sink',
    'agent',
  ],
};

/** Packages from outside that only some layers may see; every other layer is refused them. */
const FENCED = {
  '@nestjs/*': ['messaging', 'api', 'state-machine', 'scheduler', 'reaper', 'log-sink', 'agent', 'local', 'testkit'],
  typeorm: ['entities', 'testkit'],
  mysql2: ['entities', 'testkit'],
  'better-sqlite3': ['entities', 'testkit'],
  nats: ['messaging', 'testkit'],
  'prom-client': ['runtime'],
  pino: ['runtime', 'testkit'],
};

const bannedFor = (layer) => Object.keys(FENCED).filter((name) => !FENCED[name].includes(layer));

/** One constraint a row. `extra` layers are for specs, which may import testkit and start the house. */
const constraints = (extra, fenced) =>
  Object.entries(MAY_IMPORT).map(([layer, layers]) => ({
    sourceTag: `layer:${layer}`,
    onlyDependOnLibsWithTags: [...layers, ...extra, layer].map((name) => `layer:${name}`),
    ...(fenced && bannedFor(layer).length > 0 ? { bannedExternalImports: bannedFor(layer) } : {}),
  }));

const boundaries = (extra, fenced, allow) => [
  'error',
  {
    allow,
    enforceBuildableLibDependency: false,
    ignoredCircularDependencies: Object.keys(MAY_IMPORT).map((layer) => [layer, 'testkit']),
    depConstraints: constraints(extra, fenced),
  },
];

const APP_MODULES = [
  '@jobmon/api',
  '@jobmon/state-machine',
  '@jobmon/scheduler',
  '@jobmon/reaper',
  '@jobmon/log-sink',
  '@jobmon/agent',
];

export default tseslint.config(
  { ignores: ['dist/**', '**/node_modules/**', '.nx/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    plugins: { '@nx': nx },
    rules: {
      '@nx/enforce-module-boundaries': boundaries([], true, []),
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector:
            "CallExpression[callee.type='MemberExpression'][callee.property.name='transaction'][callee.object.property.name='dataSource']",
          message: 'Write through Database.write: a TypeORM transaction shares one SQLite connection with every reader.',
        },
        {
          selector: "CallExpression[callee.type='MemberExpression'][callee.property.name=/^(getRepository|createQueryRunner)$/]",
          message: 'Writes go through Database.write and reads through Database.read, outside libs/entities.',
        },
      ],
    },
  },
  {
    // The one place that knows TypeORM's write side: opening, migrating and driving the two databases.
    files: ['libs/entities/src/**/*.ts', 'libs/testkit/src/**/*.ts'],
    rules: { 'no-restricted-syntax': 'off' },
  },
  {
    files: ['apps/local/**/*.ts'],
    rules: { '@nx/enforce-module-boundaries': boundaries([], true, APP_MODULES) },
  },
  {
    files: ['apps/admin/**/*.ts'],
    rules: { '@nx/enforce-module-boundaries': boundaries([], true, ['@jobmon/reaper']) },
  },
  {
    files: ['apps/cli/**/*.ts'],
    rules: { '@nx/enforce-module-boundaries': boundaries([], true, ['@jobmon/local', '@jobmon/agent']) },
  },
  {
    files: ['**/*.spec.ts', '**/*.conformance.ts', 'apps/*/test/**/*.ts'],
    rules: {
      '@nx/enforce-module-boundaries': boundaries(Object.keys(MAY_IMPORT), false, [...APP_MODULES, '@jobmon/local']),
      'no-restricted-syntax': 'off',
    },
  },
);
