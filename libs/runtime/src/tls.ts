/**
 * TLS to the servers that a process can't work without: the files that the settings name for it, and what keeps a server from being
 * trusted, as a sentence with its cure. Certificates are always checked, and so is the name in them.
 */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';

/** Files in PEM form, by their absolute paths. Any of them asks for TLS. */
export interface TlsFiles {
  /** Authorities that may have signed the server's certificate; those that Node knows when absent. */
  readonly ca_file?: string;
  /** Certificate of this process and its key, for servers that ask for one. */
  readonly cert_file?: string;
  readonly key_file?: string;
}

/** What the files hold. */
export interface TlsTexts {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const HINT = 'it must begin with -----BEGIN CERTIFICATE-----';

/**
 * Reads the files of a section's settings, `tls_ca_file` and so on.
 *
 * @throws JobmonError MALFORMED for a file that can't be read or holds no certificate, and for a certificate without its key.
 */
export function readTlsFiles(section: 'db' | 'nats', { ca_file, cert_file, key_file }: TlsFiles): TlsTexts {
  if ((cert_file === undefined) !== (key_file === undefined)) {
    const [given, missing] = cert_file === undefined ? ['key', 'cert'] : ['cert', 'key'];
    throw new JobmonError('MALFORMED', `${section}.tls_${given}_file needs ${section}.tls_${missing}_file: name both or none`);
  }
  const read = (setting: string, file: string): string => {
    try {
      return readFileSync(file, 'utf8');
    } catch (error) {
      throw new JobmonError('MALFORMED', `the file ${file} (${section}.${setting}) can't be read: ${(error as Error).message}`);
    }
  };
  const certificate = (setting: string, file: string): string => {
    const text = read(setting, file);
    try {
      new X509Certificate(text);
    } catch (error) {
      throw new JobmonError('MALFORMED', `the file ${file} (${section}.${setting}) holds no certificate: ${HINT}`, undefined, {
        cause: error,
      });
    }
    return text;
  };
  return {
    ...(ca_file !== undefined && { ca: certificate('tls_ca_file', ca_file) }),
    ...(cert_file !== undefined && { cert: certificate('tls_cert_file', cert_file) }),
    ...(key_file !== undefined && { key: read('tls_key_file', key_file) }),
  };
}

/**
 * Why a server's certificate was refused, as the rest of a sentence that begins with the server's name; undefined for an error of
 * another kind. `error` is what Node's TLS said, whatever code it was given on its way here.
 */
export function distrustOf(error: unknown, section: 'db' | 'nats', ca_file: string | undefined): string | undefined {
  const { code = '', message = '', reason } = error as { code?: string; message?: string; reason?: string };
  const said = `${code} ${message}`;
  if (/altnames|ALTNAME/.test(said)) {
    const names = (reason ?? message).replace(/\.$/, '');
    return `shows a certificate of another server (${names}): name it in ${section}.url as its certificate does, or give it a certificate of this name`;
  }
  if (/certificate has expired|CERT_HAS_EXPIRED/.test(said)) {
    return `shows a certificate that has expired: renew it there, or set the clock of this machine right`;
  }
  if (/certificate|self.signed|unable to (verify|get)/i.test(said)) {
    const instead = ca_file === undefined ? '' : `, in place of ${ca_file}`;
    return `can't be trusted (${message}): name the authority of its certificate by ${section}.tls_ca_file${instead}`;
  }
  return undefined;
}
