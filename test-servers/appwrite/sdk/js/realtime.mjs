// Hears the events of writes with the realtime of the web SDK: node realtime.mjs <description of the stand-in>
import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { Client as ServerClient, TablesDB } from 'node-appwrite';

const server = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const cookies = { cookieFallback: JSON.stringify({ [`a_session_${server.project}`]: server.session }) };
globalThis.window = globalThis;
globalThis.WebSocket = WebSocket;
Object.defineProperty(globalThis, 'localStorage', {
  configurable: true,
  value: { getItem: (name) => cookies[name] ?? null, setItem: (name, value) => (cookies[name] = value) },
});
const { Client } = await import('appwrite');

const heard = [];
let wake = () => {};
const client = new Client().setEndpoint(server.endpoint).setProject(server.project);
const unsubscribe = client.subscribe('databases.db1.tables.notes.rows', (event) => {
  heard.push(`${event.events[0].split('.').at(-1)} ${event.payload.$id} ${event.payload.title}`);
  wake();
});

// Every listener hears what comes after the answer to its subscription; there is no callback for that answer.
const deadline = setTimeout(() => {
  console.error(`the events did not come; heard ${JSON.stringify(heard)}`);
  process.exit(1);
}, 20_000);
const tables = new TablesDB(new ServerClient().setEndpoint(server.endpoint).setProject(server.project).setKey(server.key));
const place = { databaseId: 'db1', tableId: 'notes' };
for (let attempt = 0; heard.length === 0; attempt += 1) {
  await tables.upsertRow({ ...place, rowId: 'rt-probe', data: { title: `probe ${attempt}` } });
  await new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, 100);
  });
}
heard.length = 0;
await tables.createRow({ ...place, rowId: 'rt-a', data: { title: 'new' } });
await tables.updateRow({ ...place, rowId: 'rt-a', data: { title: 'newer' } });
await tables.deleteRow({ ...place, rowId: 'rt-a' });
await tables.deleteRow({ ...place, rowId: 'rt-probe' });
const wanted = ['create rt-a new', 'update rt-a newer', 'delete rt-a newer'];
const own = () => heard.filter((event) => event.includes('rt-a'));
while (own().length < wanted.length) {
  await new Promise((resolve) => (wake = resolve));
}
assert.deepEqual(own(), wanted);
unsubscribe();
clearTimeout(deadline);
console.log(`appwrite (web) realtime: ${wanted.length} events`);
process.exit(0);
