// Runs the common steps with node-appwrite: node run.mjs <description of the stand-in> <script>
import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import { Client, Query, TablesDB } from 'node-appwrite';

const [server, script] = process.argv.slice(2, 4).map((file) => JSON.parse(readFileSync(file, 'utf8')));
const client = new Client().setEndpoint(server.endpoint).setProject(server.project).setKey(server.key);
const tables = new TablesDB(client);
const saved = {};

const ofTransaction = (call) => call.endsWith('Transaction') || call === 'createOperations';

for (const step of script.steps) {
  const args = ofTransaction(step.call) ? { ...step.args } : { databaseId: 'db1', tableId: 'notes', ...step.args };
  args.queries &&= args.queries.map(([method, ...rest]) => Query[method](...rest));
  args.transactionId &&= saved[args.transactionId.slice(1)];
  let answer;
  let refusal;
  try {
    answer = await tables[step.call](args);
  } catch (error) {
    refusal = [error.code, error.type];
  }
  assert.deepEqual(refusal, step.error, step.name);
  for (const [field, value] of Object.entries(step.expect ?? {})) {
    assert.deepEqual(answer[field], value, `${step.name}: ${field}`);
  }
  if (step.rows) {
    assert.deepEqual(answer.rows.map((row) => row.$id), step.rows, step.name);
  }
  if (step.save) {
    saved[step.save] = answer.$id;
  }
}
console.log(`node-appwrite: ${script.steps.length} steps`);
