/**
 * The OpenAPI document, made from the operations of the contracts, and a page to read it. The page's assets come from the npm
 * package `swagger-ui-dist` and are served from here: no other server is asked, and no script stands inside the page.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { OPERATIONS, type HttpBinding, type Operation } from '@jobmon/contracts';
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
        'The native API stands under /api/v4; every call there that is no GET needs the bearer token of the client profile. ' +
        'Under /api/v3 stands the protocol of Python clients.',
    },
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: ERROR_SCHEMA },
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

function describe(operation: Operation, http: HttpBinding): unknown {
  const request = schemaOf(operation.request, 'input');
  const inPath = [...http.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string);
  const rest = Object.entries(request.properties ?? {}).filter(([name]) => !inPath.includes(name));
  const required = (request.required ?? []).filter((name) => !inPath.includes(name));
  const parameter = (where: string, name: string, isRequired: boolean): unknown => ({
    name,
    in: where,
    required: isRequired,
    schema: request.properties?.[name] ?? {},
  });
  const parameters = inPath.map((name) => parameter('path', name, true));
  if (http.method === 'GET') parameters.push(...rest.map(([name]) => parameter('query', name, required.includes(name))));
  const hasBody = http.method !== 'GET';
  const { properties: _, required: __, ...keywords } = request;
  const bodySchema = { ...keywords, properties: Object.fromEntries(rest), ...(required.length > 0 ? { required } : {}) };
  // Where the wire has a form of its own (arrays by position), the reply's schema would be wrong.
  const replySchema = http.toWire === undefined ? schemaOf(operation.reply, 'output') : {};
  return {
    operationId: operation.name,
    summary: operation.summary,
    tags: [operation.name.split('.')[0]],
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(hasBody ? { requestBody: { required: true, content: { 'application/json': { schema: bodySchema } } } } : {}),
    ...(http.path.startsWith('/api/v4/') && hasBody ? { security: [{ token: [] }] } : {}),
    responses: {
      '200': {
        description: http.stream ? 'Server-sent events; the data of each is one such value.' : 'Done.',
        content: { [http.stream ? 'text/event-stream' : 'application/json']: { schema: replySchema } },
      },
      default: { description: 'Refused.', content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } },
    },
  };
}

function schemaOf(type: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io, unrepresentable: 'any' }) as JsonSchema;
  return schema;
}
