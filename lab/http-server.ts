/** A real HTTP server, started inside the server's namespace: `node http-server.js PORT`. */
import { createServer } from 'node:http';

const PAGE = `<!doctype html><title>Seawall lab</title><p>${'The page that legitimate clients fetch. '.repeat(20)}</p>\n`;
const port = Number(process.argv[2] ?? 80);

const server = createServer((_request, response) => {
  response.writeHead(200, {
    'content-type': 'text/html',
    'content-length': Buffer.byteLength(PAGE),
    connection: 'close',
  });
  response.end(PAGE);
});
server.listen({ port, host: '::', backlog: 4096 }, () => process.send?.('listening'));
// Ends with the process that started it.
process.on('disconnect', () => process.exit());
