/** A server on the loopback interface that plays the part of the hub's API that `pull` uses. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const COMMIT = 'c'.repeat(40);

const sha256 = (data: Buffer) => createHash('sha256').update(data).digest('hex');
const gitHash = (data: Buffer) =>
  createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');

export interface HubServer {
  url: string;
  /** By name; safetensors are listed as large files, the others with git's hash. */
  files: Map<string, Buffer>;
  /** "name from-to" of each request for content. */
  ranges: string[];
  /** Sends so many bytes of a file's content, and then breaks the connection; once. */
  breakAfter: { name: string; bytes: number } | undefined;
  /** Sends other content than is listed. */
  corrupt: string | undefined;
  close(): Promise<void>;
}

export async function startHub(id: string, files: Map<string, Buffer>): Promise<HubServer> {
  const server = createServer((request, response) => answer(hub, id, request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const hub: HubServer = {
    url: `http://127.0.0.1:${port}`,
    files,
    ranges: [],
    breakAfter: undefined,
    corrupt: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return hub;
}

function answer(hub: HubServer, id: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? '', hub.url);
  const content = `/${id}/resolve/${COMMIT}/`;
  if (pathname === `/api/models/${id}/revision/main`) {
    json(response, { id, sha: COMMIT });
    return;
  }
  if (pathname === `/api/models/${id}/tree/${COMMIT}`) {
    json(response, [...hub.files].map(listed));
    return;
  }
  const name = pathname.startsWith(content) ? pathname.slice(content.length) : '';
  const data = hub.files.get(name);
  if (data === undefined) {
    response.writeHead(404).end('no such thing');
    return;
  }
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const start = Number(from ?? 0);
  const end = Math.min(Number(to ?? data.length - 1), data.length - 1);
  const isProbe = start === 0 && end === 0 && from !== undefined;
  if (!isProbe) hub.ranges.push(`${name} ${start}-${end}`);
  const body = Buffer.from(data.subarray(start, end + 1));
  if (hub.corrupt === name) body.fill(0);
  response.writeHead(from === undefined ? 200 : 206, {
    'content-length': body.length,
    etag: '"x"',
    ...(from === undefined ? {} : { 'content-range': `bytes ${start}-${end}/${data.length}` }),
  });
  if (!isProbe && hub.breakAfter?.name === name) {
    response.write(body.subarray(0, hub.breakAfter.bytes), () => setTimeout(() => response.destroy(), 200));
    hub.breakAfter = undefined;
    return;
  }
  response.end(body);
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function listed([path, data]: [string, Buffer]) {
  const common = { type: 'file', path, size: data.length, oid: gitHash(data) };
  if (!path.endsWith('.safetensors')) return common;
  return { ...common, lfs: { oid: sha256(data), size: data.length, pointerSize: 130 } };
}
