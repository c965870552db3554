/** Certificates of one spec, made by openssl: an authority, and what it signs for servers and clients. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Files of a certificate in PEM form. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** An authority with its files in a folder of its own; what it signed lies beside them. */
export class CertificateAuthority {
  /** Its own certificate, which whoever trusts it names. */
  readonly file: string;

  constructor(private readonly folder: string) {
    mkdirSync(folder, { recursive: true });
    this.file = path.join(folder, 'ca.pem');
    this.openssl('req', '-x509', ...KEY, '-days', '2', '-subj', '/CN=authority', '-keyout', 'ca.key', '-out', 'ca.pem');
  }

  /**
   * Signs a certificate for these names, as `DNS:localhost,IP:127.0.0.1`, for `days` from now; it has expired already when they are negative.
   * One of the same `file` name is replaced.
   */
  sign(file: string, names: string, days = 2): CertificateFiles {
    writeFileSync(path.join(this.folder, `${file}.ext`), `subjectAltName=${names}\n`);
    this.openssl('req', ...KEY, '-subj', `/CN=${file}`, '-keyout', `${file}.key`, '-out', `${file}.csr`);
    const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${file}.ext`, '-days', String(days)];
    this.openssl('x509', '-req', '-in', `${file}.csr`, ...by, '-out', `${file}.pem`);
    return { cert: path.join(this.folder, `${file}.pem`), key: path.join(this.folder, `${file}.key`) };
  }

  private openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' });
  }
}
