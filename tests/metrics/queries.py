"""Writes the queries of a Grafana dashboard as recording rules, so that promtool can tell whether they can be read.

Argument: the dashboard. What Grafana fills in has some value.
"""

import json
import sys

VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def queries(panels):
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from queries(panel.get("panels", []))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        found = list(queries(json.load(file)["panels"]))
    if not found:
        sys.exit("the dashboard has no query")
    print("groups:\n  - name: dashboard\n    rules:")
    for number, query in enumerate(found):
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        print(f"      - record: dashboard_{number}\n        expr: {json.dumps(query)}")
