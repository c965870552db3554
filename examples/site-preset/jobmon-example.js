#!/usr/bin/env node
/** `jobmon` with the site's settings, where the caller named none of his own. */
import { fileURLToPath } from 'node:url';

process.env.JOBMON__CONFIG_FILE ??= fileURLToPath(new URL('jobmon.yaml', import.meta.url));
await import('@jobmon/cli/dist/main.js');
