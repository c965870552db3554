// `npm run docs`: writes the pages of docs/ and k8s/, and other files, that are generated from the sources. A test fails when one of them is stale.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

/** Page, the source that makes it, and the function there that answers its text; it is given the root of the checkout. */
const PAGES = [
  ['docs/bus.md', 'tools/bus.ts', 'busPage'],
  ['docs/command-line.md', 'tools/command-line.ts', 'commandLinePage'],
  ['docs/deadlines.md', 'tools/deadlines.ts', 'deadlinesPage'],
  ['docs/erd.md', 'libs/entities/src/erd.ts', 'erdPage'],
  ['docs/login.md', 'tools/roles.ts', 'loginPage'],
  ['docs/operations.md', 'tools/operations.ts', 'operationsPage'],
  ['docs/races.md', 'tools/races.ts', 'racesPage'],
  ['helm/jobmon/files/nats/nats.conf', 'tools/chart.ts', 'natsConfiguration'],
  ['k8s/migrate.yaml', 'tools/chart.ts', 'plainMigration'],
  ['k8s/jobmon.yaml', 'tools/chart.ts', 'plainManifests'],
  ['docs/workflow-file.schema.json', 'libs/client/src/workflow-file/schema.ts', 'workflowFileSchemaText'],
];

/** As the formatter wants it, unless it is told to leave the page alone. */
async function formatted(page, text) {
  const prettier = require('prettier');
  const { ignored } = await prettier.getFileInfo(join(ROOT, page), { ignorePath: join(ROOT, '.prettierignore') });
  if (ignored || !page.endsWith('.md')) return text;
  return prettier.format(text, { ...(await prettier.resolveConfig(join(ROOT, page))), filepath: page });
}

for (const [page, source, make] of PAGES) {
  // Bundled inside the checkout, so that packages are found in its node_modules.
  const outfile = join(ROOT, 'dist', 'docs', `${make}.cjs`);
  mkdirSync(dirname(outfile), { recursive: true });
  await require('esbuild').build({
    absWorkingDir: ROOT,
    entryPoints: [source],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    packages: 'external',
    tsconfig: 'tsconfig.base.json',
    keepNames: true,
    logLevel: 'warning',
  });
  const text = require(outfile)[make](ROOT);
  writeFileSync(join(ROOT, page), await formatted(page, text));
  rmSync(outfile);
  console.log(`written: ${page}`);
}
