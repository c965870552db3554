/** The images: one for each process, with what its container starts and what stands in it. */

const service = (name) => ({
  name,
  entrypoint: ['node', `dist/apps/${name}/main.js`],
  app: name,
  has_healthcheck: true,
  ports: name === 'api' ? ['8070/tcp', '8071/tcp'] : ['8071/tcp'],
});

/** `app` is the folder below dist/apps that the image has; it has no other. */
export const PROCESSES = [
  ...['api', 'state-machine', 'scheduler', 'log-sink', 'reaper'].map(service),
  { name: 'agent', entrypoint: ['/opt/jobmon/agent-init', 'jobmon', 'agent'], app: 'cli', has_healthcheck: false, ports: [] },
  { name: 'admin', entrypoint: ['jobmon-server'], app: 'admin', has_healthcheck: false, ports: [] },
];
