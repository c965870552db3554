/**
 * The OpenAPI document, made from the operations of the contracts, and a page to read it. The page's assets come from the npm
 * package `swagger-ui-dist` and are served from here: no other server is asked, and no script stands inside the page.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { accessOf, namesCaller, OPERATIONS, ownedBy, type HttpBinding, type Operation } from '@jobmon/contracts';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';

const DOCUMENT_PATH = '/api/openapi.json';
const PAGE_PATH = '/api/docs';

/** Files of the viewer with their types; nothing else of the package is served. */
const ASSETS: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>Jobmon API</title>
    <link rel="icon" href="${PAGE_PATH}/favicon-32x32.png">
    <link rel="stylesheet" href="${PAGE_PATH}/swagger-ui.css">
  </head>
  <body>
    <div id="viewer"></div>
    <script src="${PAGE_PATH}/swagger-ui-bundle.js"></script>
    <script src="${PAGE_PATH}/start.js"></script>
  </body>
</html>
`;
const START = `SwaggerUIBundle({ url: '${DOCUMENT_PATH}', dom_id: '#viewer', validatorUrl: null, deepLinking: true });\n`;

/** Serves the document and the page. Document and assets are made or read when they are first asked for. */
export function registerDocumentation(server: FastifyInstance): void {
  let text: string | undefined;
  server.get(DOCUMENT_PATH, (_request, reply) =>
    reply.header('content-type', 'application/json; charset=utf-8').send((text ??= JSON.stringify(openApiDocument()))),
  );
  server.get(PAGE_PATH, (_request, reply) => reply.header('content-type', 'text/html; charset=utf-8').send(PAGE));
  server.get(`${PAGE_PATH}/start.js`, (_request, reply) =>
    reply.header('content-type', 'text/javascript; charset=utf-8').send(START),
  );
  for (const [name, type] of Object.entries(ASSETS)) {
    let content: Buffer | undefined;
    server.get(`${PAGE_PATH}/${name}`, (_request, reply) => {
      content ??= readFileSync(join(dirname(require.resolve('swagger-ui-dist/package.json')), name));
      return reply.header('content-type', type).header('cache-control', 'public, max-age=86400').send(content);
    });
  }
}

interface JsonSchema {
  properties?: Record<string, unknown>;
  required?: string[];
  [keyword: string]: unknown;
}

/** The OpenAPI 3.1 document of every operation that HTTP reaches. */
export function openApiDocument(): { openapi: string; paths: Record<string, Record<string, unknown>>; [key: string]: unknown } {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const operation of OPERATIONS) {
    const { http } = operation;
    if (http === undefined) continue;
    (paths[http.path] ??= {})[http.method.toLowerCase()] = describe(operation, http);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Jobmon',
      version: '4',
      description:
        'The native API stands under /api/v4; every call there that is no GET needs the bearer token of the client profile. With login on ' +
        'every call needs the token of a user with the role in x-role, who owns what x-owned names or is an admin. ' +
        'Under /api/v3 stands the protocol of Python clients, with the number of each operation in x-protocol; /api/v2 is another ' +
        'name for it.',
    },
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: ERROR_SCHEMA, PythonError: PYTHON_ERROR_SCHEMA },
    },
  };
}

const ERROR_SCHEMA = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message'],
      properties: { code: { type: 'string' }, message: { type: 'string' }, details: {} },
    },
  },
};

/**
 * A sentence in `detail`, with `error` beside it when the route itself refuses; or the list of wrong parameters. Two routes say the sentence
 * in `error` alone.
 */
const PYTHON_ERROR_SCHEMA = {
  anyOf: [
    {
      type: 'object',
      required: ['detail'],
      properties: {
        detail: {
          anyOf: [
            { type: 'string' },
            {
              type: 'array',
              items: {
                type: 'object',
                required: ['type', 'loc', 'msg', 'input'],
                properties: { type: { type: 'string' }, loc: { type: 'array' }, msg: { type: 'string' }, input: {} },
              },
            },
          ],
        },
        error: {
          type: 'object',
          required: ['type', 'code', 'exception_message', 'status_code'],
          properties: Object.fromEntries(
            ['type', 'code', 'exception_message', 'status_code'].map((name) => [name, { type: 'string' }]),
          ),
        },
      },
    },
    { type: 'object', required: ['error'], properties: { error: { type: 'string' } }, additionalProperties: false },
  ],
};

/** A field that is always sent in the query, whatever the method (spec/http-api-execution.md section 2.2). */
const ALWAYS_IN_QUERY = 'client_jobmon_version';

function describe(operation: Operation, http: HttpBinding): unknown {
  const request = schemaOf(operation.request, 'input');
  const inPath = [...http.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string);
  const inQuery = (name: string): boolean => !inPath.includes(name) && (http.method === 'GET' || name === ALWAYS_IN_QUERY);
  const required = request.required ?? [];
  const parameter = (where: string, name: string, isRequired: boolean): unknown => ({
    name,
    in: where,
    required: isRequired,
    schema: request.properties?.[name] ?? {},
  });
  const names = Object.keys(request.properties ?? {});
  const parameters = [
    ...inPath.map((name) => parameter('path', name, true)),
    ...names.filter(inQuery).map((name) => parameter('query', name, required.includes(name))),
  ];
  const hasBody = http.method !== 'GET';
  const inBody = names.filter((name) => !inPath.includes(name) && !inQuery(name));
  const requiredInBody = required.filter((name) => inBody.includes(name));
  const bodySchema = {
    ...request,
    properties: Object.fromEntries(inBody.map((name) => [name, request.properties?.[name]])),
    required: requiredInBody.length > 0 ? requiredInBody : undefined,
  };
  const isPython = operation.protocol !== undefined;
  const refusal = { $ref: `#/components/schemas/${isPython ? 'PythonError' : 'Error'}` };
  return {
    operationId: operation.name,
    ...(isPython ? { 'x-protocol': operation.protocol } : {}),
    summary: operation.summary,
    tags: [operation.name.split('.')[0]],
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(hasBody
      ? { requestBody: { required: requiredInBody.length > 0, content: { 'application/json': { schema: bodySchema } } } }
      : {}),
    ...securityOf(operation, hasBody),
    responses: {
      '200': {
        description: http.stream ? 'Server-sent events; the data of each is one such value.' : 'Done.',
        content: {
          [http.stream ? 'text/event-stream' : 'application/json']: { schema: schemaOf(http.wire ?? operation.reply, 'output') },
        },
      },
      default: { description: 'Refused.', content: { 'application/json': { schema: refusal } } },
    },
  };
}

/** Reads need a token with login on only, which the document says by a second way: none. */
function securityOf(operation: Operation, hasBody: boolean): Record<string, unknown> {
  const access = accessOf(operation);
  if (access === 'anyone' || access === 'network') return { 'x-role': access };
  const owned = ownedBy(operation);
  return {
    security: hasBody ? [{ token: [] }] : [{ token: [] }, {}],
    'x-role': access,
    ...(owned === undefined ? {} : { 'x-owned': owned }),
    ...(namesCaller(operation) ? { 'x-user': 'the caller, with login on' } : {}),
  };
}

function schemaOf(type: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io, unrepresentable: 'any' }) as JsonSchema;
  return schema;
}
