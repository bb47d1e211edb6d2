import math

import pytest
import torch

from sstricks.experiments.l2x.reviews import Annotated, Reviews


@pytest.fixture
def reviews():
    return Reviews.of(
        [
            Annotated([2, 3, 4], 0.5, [True, False, True]),
            Annotated([5], math.nan),
            Annotated([6, 7, 8, 9, 10], 1.0, [False] * 5),
            Annotated([], 0.2),
        ]
    )


def test_empty_reviews_are_left_out(reviews):
    assert len(reviews) == 3
    assert reviews.lengths.tolist() == [3, 1, 5]


def test_a_batch_is_padded_and_cut(reviews):
    batch = reviews.select(torch.tensor([2, 0]), most=4)
    assert batch.words.tolist() == [[6, 7, 8, 9], [2, 3, 4, 0]]
    assert batch.lengths.tolist() == [4, 3]
    assert batch.present.tolist() == [[True] * 4, [True, True, True, False]]
    assert batch.relevant.tolist() == [[False] * 4, [True, False, True, False]]
    assert batch.annotated.tolist() == [True, True]
    assert batch.ratings.tolist() == [1.0, 0.5]


def test_a_batch_is_as_wide_as_the_subsets(reviews):
    batch = reviews.select(torch.tensor([1]), most=350, least=4)
    assert batch.words.tolist() == [[5, 0, 0, 0]]
    assert batch.present.tolist() == [[True, False, False, False]]
    assert batch.annotated.tolist() == [False]
    assert batch.ratings.isnan().all()


def test_taking_some(reviews):
    taken = reviews.take(torch.tensor([2, 1]))
    assert taken.words.tolist() == [6, 7, 8, 9, 10, 5]
    assert taken.offsets.tolist() == [0, 5, 6]
    assert taken.annotated.tolist() == [True, False]
    assert len(reviews.take(torch.tensor([], dtype=torch.long))) == 0


def test_ratings_beyond_one_and_annotations_of_other_length_are_refused():
    with pytest.raises(ValueError, match="a rating is 4"):
        Reviews.of([Annotated([2], 4.0)])
    with pytest.raises(ValueError, match="has 2 words and says of 1"):
        Reviews.of([Annotated([2, 3], 0.5, [True])])
