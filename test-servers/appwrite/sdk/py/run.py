"""Runs the common steps with the Python SDK: python run.py <description of the stand-in> <script>."""

import json
import re
import sys

from appwrite.client import Client
from appwrite.exception import AppwriteException
from appwrite.query import Query
from appwrite.services.tables_db import TablesDB


def snake(name):
    """Turns `createRow` into `create_row`."""
    return re.sub(r"([A-Z])", lambda letter: "_" + letter.group(1).lower(), name)


def plain(answer):
    """The answer as a dictionary with the names of the wire."""
    if answer is None or isinstance(answer, (dict, str, bytes)):
        return answer
    shown = answer.to_dict() if hasattr(answer, "to_dict") else answer.model_dump(by_alias=True)
    for row in [shown, *shown.get("rows", [])]:
        row.update(row.pop("data", None) or {})
    return shown


def main():
    server, script = (json.load(open(file, encoding="utf-8")) for file in sys.argv[1:3])
    client = Client().set_endpoint(server["endpoint"]).set_project(server["project"]).set_key(server["key"])
    tables = TablesDB(client)
    saved = {}
    for step in script["steps"]:
        name, call = step["name"], step["call"]
        args = {snake(key): value for key, value in step["args"].items()}
        if not (call.endswith("Transaction") or call == "createOperations"):
            args = {"database_id": "db1", "table_id": "notes", **args}
        if "queries" in args:
            args["queries"] = [getattr(Query, snake(query[0]))(*query[1:]) for query in args["queries"]]
        if "transaction_id" in args:
            args["transaction_id"] = saved[args["transaction_id"][1:]]
        answer, refusal = None, None
        try:
            answer = plain(getattr(tables, snake(call))(**args))
        except AppwriteException as error:
            refusal = [error.code, error.type]
        assert refusal == step.get("error"), f"{name}: {refusal}"
        for field, value in step.get("expect", {}).items():
            assert answer[field] == value, f"{name}: {field} is {answer[field]!r}"
        if "rows" in step:
            ids = [row["$id"] for row in answer["rows"]]
            assert ids == step["rows"], f"{name}: {ids}"
        if "save" in step:
            saved[step["save"]] = answer["$id"]
    print(f"appwrite (Python): {len(script['steps'])} steps")


if __name__ == "__main__":
    main()
