// supabase-js, with its realtime client in both forms of the protocol, against the stack.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createClient } from "@supabase/supabase-js";
import { WebSocket } from "ws";
import { startStack } from "./stack.mjs";

const PATIENCE = 15_000;
let stack;

const client = (vsn = "2.0.0") =>
  createClient(stack.url, stack.publishable_key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: WebSocket, vsn, heartbeatIntervalMs: 1000, reconnectAfterMs: () => 100 },
  });

async function signedIn(vsn) {
  const supabase = client(vsn);
  const { error } = await supabase.auth.signInWithPassword({ email: stack.email, password: stack.password });
  assert.equal(error, null);
  return supabase;
}

// A list that can be waited on until it holds something that fits.
function inbox() {
  const items = [];
  const waiting = [];
  return {
    push(item) {
      items.push(item);
      for (const look of waiting.splice(0)) look();
    },
    async until(fits) {
      const deadline = Date.now() + PATIENCE;
      for (;;) {
        const place = items.findIndex(fits);
        if (place >= 0) return items.splice(0, place + 1).at(-1);
        assert.ok(Date.now() < deadline, `in time; came so far: ${JSON.stringify(items)}`);
        await new Promise((resolve) => {
          waiting.push(resolve);
          setTimeout(resolve, 200);
        });
      }
    },
  };
}

before(async () => {
  stack = await startStack(process.env.STACK_PROGRAM, [new URL("project.sql", import.meta.url).pathname]);
});
after(() => stack.stop());

test("rows are inserted, refused, merged, counted and paged", async () => {
  const supabase = await signedIn();
  const rows = [1, 2, 3].map((n) => ({ id: `00000000-0000-4000-8000-00000000000${n}`, title: String(n) }));
  // An array makes the client send the names of the columns in quotes.
  assert.equal((await supabase.from("todo").insert(rows)).status, 201);
  const again = await supabase.from("todo").insert(rows[0]);
  assert.deepEqual([again.status, again.error.code], [409, "23505"]);
  const foreign = await supabase.from("todo").insert({ title: "x", owner: rows[0].id });
  assert.deepEqual([foreign.status, foreign.error.code], [403, "42501"]);
  const merged = await supabase.from("todo").upsert([{ ...rows[0], title: "merged" }], { onConflict: "id" }).select();
  assert.deepEqual([merged.status, merged.data[0].title], [200, "merged"]);
  const ignored = await supabase.from("todo").upsert([rows[0]], { ignoreDuplicates: true }).select();
  assert.deepEqual(ignored.data, []);
  const counted = await supabase.from("todo").select("*", { count: "exact", head: true });
  assert.equal(counted.count, 3);
  const page = await supabase.from("todo").select("id", { count: "exact" }).order("id").range(0, 1);
  assert.deepEqual([page.status, page.data.length, page.count], [206, 2, 3]);
  const keyset = await supabase.from("todo").select("id").or(`title.gt.2,and(title.eq.2,id.gt.${rows[0].id})`).order("title");
  assert.equal(keyset.data.length, 3);
  const single = await supabase.from("todo").select().single();
  assert.deepEqual([single.status, single.error.code], [406, "PGRST116"]);
  assert.equal((await supabase.rpc("twice", { number: 21 })).data, 42);
  assert.equal((await supabase.rpc("nothing")).error.code, "PGRST202");
  assert.equal((await supabase.from("todo").delete().in("id", rows.map((row) => row.id))).status, 204);
});

test("nobody is signed in with the key alone", async () => {
  const { data, error } = await client().from("todo").select();
  assert.deepEqual([data, error], [[], null]);
});

test("a session is refreshed, and a wrong password refused by its code", async () => {
  const supabase = await signedIn();
  const { data: before } = await supabase.auth.getSession();
  const { data: refreshed, error } = await supabase.auth.refreshSession();
  assert.equal(error, null);
  assert.notEqual(refreshed.session.refresh_token, before.session.refresh_token);
  assert.equal((await supabase.auth.getUser()).data.user.id, stack.user);
  const wrong = await client().auth.signInWithPassword({ email: stack.email, password: "wrong" });
  assert.equal(wrong.error.code, "invalid_credentials");
  assert.equal((await supabase.auth.signOut()).error, null);
});

for (const vsn of ["1.0.0", "2.0.0"]) {
  test(`realtime ${vsn}: changes, private broadcasts, and a killed socket`, async () => {
    const supabase = await signedIn(vsn);
    const news = inbox();
    const channel = supabase
      .channel(`own:${stack.user}`, { config: { private: true } })
      .on("postgres_changes", { event: "*", schema: "public", table: "todo" }, (change) => news.push(["change", change.eventType]))
      .on("broadcast", { event: "poke" }, (message) => news.push(["poke", message.payload.seq]))
      .on("system", {}, (message) => news.push(["system", message.status]))
      .subscribe((status) => news.push(["status", status]));
    await news.until(([kind, what]) => kind === "status" && what === "SUBSCRIBED");
    await news.until(([kind, what]) => kind === "system" && what === "ok");
    const { data } = await supabase.from("todo").insert({ title: "x" }).select().single();
    await news.until(([kind, what]) => kind === "change" && what === "INSERT");
    await supabase.from("todo").update({ title: "y" }).eq("id", data.id);
    await news.until(([kind, what]) => kind === "change" && what === "UPDATE");
    await supabase.from("todo").delete().eq("id", data.id);
    await news.until(([kind, what]) => kind === "change" && what === "DELETE");
    await stack.command(`sql select realtime.send('{"seq": 7}', 'poke', 'own:${stack.user}')`);
    await news.until(([kind, what]) => kind === "poke" && what === 7);
    await stack.command("kill sockets");
    await news.until(([kind, what]) => kind === "status" && what === "CHANNEL_ERROR");
    await news.until(([kind, what]) => kind === "status" && what === "SUBSCRIBED");
    await supabase.removeChannel(channel);
    await supabase.realtime.disconnect();
  });
}

test("a channel that no policy opens is refused", async () => {
  const supabase = await signedIn();
  const news = inbox();
  supabase.channel("own:somebody", { config: { private: true } }).subscribe((status, error) => news.push([status, error?.message]));
  const [, message] = await news.until(([status]) => status === "CHANNEL_ERROR");
  assert.match(message, /Unauthorized/);
  await supabase.removeAllChannels();
  await supabase.realtime.disconnect();
});
