// Runs the check of the Python client: node postgrest.mjs PYTHON
import { spawnSync } from "node:child_process";
import { startStack } from "./stack.mjs";

const here = (name) => new URL(name, import.meta.url).pathname;
const stack = await startStack(process.env.STACK_PROGRAM, [here("project.sql")]);
const answer = await fetch(`${stack.url}/auth/v1/token?grant_type=password`, {
  method: "POST",
  headers: { apikey: stack.publishable_key, "content-type": "application/json" },
  body: JSON.stringify({ email: stack.email, password: stack.password }),
});
const facts = { url: stack.url, publishable_key: stack.publishable_key, token: (await answer.json()).access_token };
const check = spawnSync(process.argv[2], [here("postgrest_test.py")], {
  input: JSON.stringify(facts),
  stdio: ["pipe", "inherit", "inherit"],
});
await stack.stop();
process.exit(check.status ?? 1);
