// An OpenID provider in a process of its own, for specs: `node openid-provider.mjs`. It is a module of ES and so is the package, which is why it
// is no part of a spec. Its first line of input is `{port, keys, audience, roles, token_seconds}`; each later one changes some of that. It asks nobody anything:
// whoever comes is the account that was named last, and has agreed.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const CLIENT = {
  client_id: 'jobmon',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  id_token_signed_response_alg: 'ES256',
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  redirect_uris: ['http://127.0.0.1/callback'],
};

const state = { account: 'ada', roles: {}, token_seconds: 600 };
let provider;

function makeProvider() {
  provider = new Provider(`http://127.0.0.1:${state.port}`, {
    clients: [CLIENT],
    jwks: { keys: state.keys },
    cookies: { keys: ['of a spec'] },
    scopes: ['openid', 'profile', 'offline_access'],
    interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
    findAccount: (_context, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    extraTokenClaims: (_context, token) => ({ roles: state.roles[token.accountId] ?? [] }),
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => state.audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: '',
          audience: state.audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: state.token_seconds,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  provider.on('server_error', (_context, error) => console.error(error));
}

async function agree(request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: state.account } });
  }
  const owner = { accountId: session.accountId, clientId: params.client_id };
  const grant = grantId === undefined ? new provider.Grant(owner) : await provider.Grant.find(grantId);
  grant.addOIDCScope('openid profile offline_access');
  const result = { consent: { grantId: await grant.save() } };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

const server = createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) return provider.callback()(request, response);
  agree(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end();
  });
});

createInterface({ input: process.stdin }).on('line', (line) => {
  const change = JSON.parse(line);
  Object.assign(state, change);
  if (change.port === undefined) {
    if (change.keys !== undefined) makeProvider();
    console.log('changed');
    return;
  }
  server.listen(change.port, '127.0.0.1', () => {
    state.port = server.address().port;
    makeProvider();
    console.log(`listening ${state.port}`);
  });
});
// Whoever started it is gone.
process.stdin.on('end', () => process.exit(0));
