/** Every variant of values that the chart is held against: kinds of route, login, scaling, and servers of the chart's own or others', each with each. */

const BUILT_IN = { database: { builtIn: { enabled: true } }, nats: { builtIn: { enabled: true } } };
const EXTERNAL = {
  database: { host: 'mariadb.example.org', existingSecret: 'jobmon-database' },
  nats: { url: 'nats://nats.example.org:4222', existingSecret: 'jobmon-nats' },
};
/** Who comes in where the allow-list lets nobody in by itself. */
const ALLOWED = {
  networkPolicy: { monitoring: [{ namespaceSelector: {} }], pythonClients: [{ ipBlock: { cidr: '10.0.0.0/8' } }] },
};
const OBSERVED = {
  monitoring: { serviceMonitor: true, prometheusRule: true, labels: { release: 'prometheus' } },
  ...ALLOWED,
};
/** Gateway, Traefik and the Prometheus operator: definitions of their resources are in the cluster for this, their controllers are not. */
const ROUTES = {
  'no route': {},
  gateway: {
    route: { kind: 'gateway', host: 'jobmon.example.org', gateway: { name: 'public', namespace: 'edge' } },
    ...OBSERVED,
  },
  traefik: { route: { kind: 'traefik', host: 'jobmon.example.org', tlsSecret: 'jobmon-tls' }, ...OBSERVED },
  ingress: { route: { kind: 'ingress', host: 'jobmon.example.org', tlsSecret: 'jobmon-tls', className: 'nginx' } },
};
const LOGINS = {
  login: {
    login: {
      issuer: 'https://login.example.org/research',
      roles: ['staff=operator'],
      pythonPort: 8072,
      pythonNetworks: ['10.0.0.0/8'],
    },
    ...ALLOWED,
  },
  'no login': { login: { mode: 'off', open: true, existingSecret: 'jobmon-token' } },
};
const off = { autoscaling: { enabled: false } };
const SCALINGS = {
  autoscaling: {},
  'by hand': {
    ...{ api: off, stateMachine: off, scheduler: off, logSink: off },
    ...{ agents: { enabled: true, existingSecret: 'jobmon-agents' }, admin: { replicas: 1 } },
  },
};
const SERVERS = {
  'own servers': EXTERNAL,
  'built-in NATS': { database: EXTERNAL.database, nats: BUILT_IN.nats },
  'built-in both': BUILT_IN,
};

/** Each variant: its name, and its values as the chart takes them. */
export const VARIANTS = Object.entries(ROUTES).flatMap(([route, r]) =>
  Object.entries(LOGINS).flatMap(([login, l]) =>
    Object.entries(SCALINGS).flatMap(([scaling, s]) =>
      Object.entries(SERVERS).map(([servers, d]) => ({
        name: [route, login, scaling, servers].join(', '),
        values: { image: { registry: 'registry.example.org:5000/research' }, ...r, ...l, ...s, ...d },
      })),
    ),
  ),
);
