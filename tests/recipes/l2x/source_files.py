"""Made-up files in the formats of the published reviews."""

import gzip
import json

import numpy as np

from sstricks.recipes.reviews import PrepareSynthetic


def made_up(train, valid, test, seed=0):
    sizes = {"train_reviews": train, "valid_reviews": valid, "test_reviews": test}
    return PrepareSynthetic(out="nowhere", seed=seed, **sizes).corpus()


def write_lines(path, rows):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_hotels(folder, count=60, seed=0):
    """Ratings of service are independent of the others in every third review, and the same as theirs elsewhere."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        stars, service = (int(x) for x in generator.integers(1, 6, size=2))
        ratings = dict.fromkeys(("overall", "location", "rooms", "cleanliness"), stars)
        ratings["service"] = service if number % 3 == 0 else stars
        if number % 10 == 9:
            ratings["rooms"] = -1
        text = f"Review {number}: the staff was {ratings['service']}, the rest {stars}!"
        rows.append({"hotel": "1", "text": text, "ratings": ratings})
    write_lines(folder / "train_filtered.jsonl.gz", rows)
    stars = {"service": 4, "location": -1, "rooms": 5, "cleanliness": 3}
    sentences = [
        {"tokens": ["The", "staff", "was", "n't", "rude", "."], "opinions": [{"category": "SERVICE#GENERAL"}]},
        {"tokens": ["We", "came", "by", "train"], "opinions": []},
        {
            "tokens": ["Clean", "room", ",", "great", "location"],
            "opinions": [{"category": "ROOMS#CLEANLINESS"}, {"category": "LOCATION#GENERAL"}],
        },
    ]
    tests = [
        {"rid": "1", "hotel": "2", "stars": stars, "sentences": sentences},
        {"rid": "2", "hotel": "2", "stars": stars, "sentences": sentences[1:2]},
    ]
    write_lines(folder / "annotated_test.jsonl.gz", tests)
    return rows


def write_beer(folder, *, first=1, heldout=True):
    lines = [f"0.{n % 10} 0.5 0.6 0.7 0.8\tpours a dark brown , smells of malt n{n}\n" for n in range(40)]
    for number in (first, first + 1):
        with gzip.open(folder / f"reviews.aspect{number}.train.txt.gz", "wt") as file:
            file.writelines(lines)
        if heldout:
            with gzip.open(folder / f"reviews.aspect{number}.heldout.txt.gz", "wt") as file:
                file.writelines(lines[:11])
    spans = {"0": [[0, 4]], "1": [[5, 8]], "2": []}
    annotations = [
        {"x": ["pours", "a", "dark", "brown", ",", "does", "n't", "smell"], "y": [0.1] * 5, **spans},
        {"x": ["pours", "brown"], "y": [0.9] * 5, "0": [[0, 1], [1, 2]], "1": []},
    ]
    (folder / "annotations.json").write_text("".join(json.dumps(row) + "\n" for row in annotations))
