"""The Python client of PostgREST, against the stack. Takes its facts as JSON from the standard input."""

import json
import sys

from postgrest import SyncPostgrestClient
from postgrest.exceptions import APIError

facts = json.load(sys.stdin)
headers = {"apikey": facts["publishable_key"], "Authorization": f"Bearer {facts['token']}"}
client = SyncPostgrestClient(f"{facts['url']}/rest/v1", headers=headers)

rows = [{"id": f"00000000-0000-4000-8000-0000000000{n}", "title": str(n)} for n in (11, 12, 13)]
assert len(client.from_("todo").insert(rows).execute().data) == 3
for change, code in (
    (client.from_("todo").insert(rows[0]), "23505"),
    (client.from_("todo").insert({"title": "x", "owner": rows[0]["id"]}), "42501"),
    (client.from_("todo").select("*").eq("id", "x"), "22P02"),
):
    try:
        change.execute()
        raise AssertionError(f"{code} was expected")
    except APIError as error:
        assert error.code == code, error
page = client.from_("todo").select("id", count="exact").order("id").limit(2).execute()
assert (len(page.data), page.count) == (2, 3), page
merged = client.from_("todo").upsert({**rows[0], "title": "merged"}).execute()
assert merged.data[0]["title"] == "merged"
assert client.rpc("twice", {"number": 21}).execute().data == 42
assert len(client.from_("todo").delete().in_("id", [row["id"] for row in rows]).execute().data) == 3
print("postgrest: 8 checks passed")
