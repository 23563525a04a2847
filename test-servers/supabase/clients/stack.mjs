// Starts the stack's program and gives it commands.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export async function startStack(program, files) {
  const child = spawn(program, files, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done) throw new Error("the stack did not start");
  return {
    ...JSON.parse(first.value),
    async command(text) {
      child.stdin.write(`${text}\n`);
      const { value } = await lines.next();
      if (value !== "ok") throw new Error(`${text}: ${value}`);
    },
    async stop() {
      const ended = new Promise((resolve) => child.on("exit", resolve));
      child.stdin.end();
      await ended;
    },
  };
}
