/** Where what a client keeps for its user stands. */
import { userInfo } from 'node:os';
import path from 'node:path';

/** `$XDG_CONFIG_HOME/jobmon/profile.json`, else under `~/.config`. Other files of the client stand beside it. */
export function profilePath(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const config = env.XDG_CONFIG_HOME || path.join(env.HOME || userInfo().homedir, '.config');
  return path.join(config, 'jobmon', 'profile.json');
}
