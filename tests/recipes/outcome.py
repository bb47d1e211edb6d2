"""What runs have come to, to compare them by."""

import json


def result_of(path):
    return json.loads((path / "result.json").read_text())


def without_times(row):
    return {name: value for name, value in row.items() if name != "seconds"}
