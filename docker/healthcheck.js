/** Exit code 0 when the process beside this one is alive (GET /health/live), else 1. For engines that know no probes. */
const port = process.env.JOBMON__SERVICE__PORT ?? '8071';
fetch(`http://127.0.0.1:${port}/health/live`, { signal: AbortSignal.timeout(4_000) }).then(
  ({ status }) => process.exit(status === 200 ? 0 : 1),
  () => process.exit(1),
);
