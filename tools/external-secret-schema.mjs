/**
 * `node tools/external-secret-schema.mjs`: writes tools/kubernetes-schemas/external-secrets.io-v1.json, the strict schema of an ExternalSecret, of the
 * definition (Apache-2.0) that the operator publishes and `tools/cluster/control-plane` fetches. Descriptions and the status are left out. The file
 * changes only with the operator's version there.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const TOOLS = path.dirname(fileURLToPath(import.meta.url));
const VERSION = 'v1';

/** Without what is for people and for the API server alone; of an object that names its fields no other one is taken. */
function strict(node) {
  if (Array.isArray(node)) return node.map((each) => strict(each));
  if (typeof node !== 'object' || node === null) return node;
  const kept = Object.entries(node).filter(
    ([key, value]) => !(key === 'description' && typeof value === 'string') && !key.startsWith('x-kubernetes'),
  );
  const isWhole = node.type === 'object' && node.properties !== undefined && !node['x-kubernetes-preserve-unknown-fields'];
  return {
    ...Object.fromEntries(kept.map(([key, value]) => [key, strict(value)])),
    ...(isWhole ? { additionalProperties: false } : {}),
  };
}

const folder = execFileSync(path.join(TOOLS, 'cluster', 'control-plane'), ['definitions'], { encoding: 'utf8' }).trim();
const { spec } = parse(readFileSync(path.join(folder, 'external-secrets.io_externalsecrets.yaml'), 'utf8'));
const { openAPIV3Schema } = spec.versions.find(({ name }) => name === VERSION).schema;
delete openAPIV3Schema.properties.status;
const { kind } = spec.names;
const schemas = { kinds: { [`${spec.group}/${VERSION} ${kind}`]: kind }, definitions: { [kind]: strict(openAPIV3Schema) } };
writeFileSync(path.join(TOOLS, 'kubernetes-schemas', `${spec.group}-${VERSION}.json`), `${JSON.stringify(schemas)}\n`);
