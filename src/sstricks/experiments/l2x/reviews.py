import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sstricks.experiments.l2x.text import PAD


@dataclass(frozen=True)
class Annotated:
    """One review as a source tells it.

    Attributes:
        words: their numbers.
        rating: of the aspect, in [0, 1]; NaN if it is not to be predicted.
        relevant: for each word whether its sentence is about the aspect; none if nobody said.
    """

    words: Sequence[int]
    rating: float
    relevant: Sequence[bool] | None = None


@dataclass(frozen=True)
class Batch:
    """Some reviews, padded to a common width.

    Attributes:
        words: int64 (B, L), `PAD` beyond the end of a review.
        lengths: int64 (B,).
        ratings: float32 (B,), NaN where there is none.
        relevant: bool (B, L).
        annotated: bool (B,), whether `relevant` says anything.
    """

    words: Tensor
    lengths: Tensor
    ratings: Tensor
    relevant: Tensor
    annotated: Tensor

    def __len__(self) -> int:
        return len(self.words)

    @property
    def present(self) -> Tensor:
        """Where there is a word, bool (B, L)."""
        return torch.arange(self.words.shape[1], device=self.words.device) < self.lengths.unsqueeze(-1)

    def to(self, device: torch.device) -> "Batch":
        """The same reviews on a device.

        Args:
            device: where they should be.

        Returns:
            The reviews there.
        """
        return Batch(*(getattr(self, name).to(device) for name in Batch.__dataclass_fields__))


@dataclass(frozen=True)
class Reviews:
    """N reviews of different lengths, one after the other.

    Attributes:
        words: int32, the words of all.
        offsets: int64 (N + 1,), where each begins, and the end.
        ratings: float32 (N,), in [0, 1], NaN where there is none.
        relevant: bool, for each word whether its sentence is about the aspect.
        annotated: bool (N,), whether `relevant` says anything.
    """

    words: Tensor
    offsets: Tensor
    ratings: Tensor
    relevant: Tensor
    annotated: Tensor

    def __len__(self) -> int:
        return len(self.ratings)

    @property
    def lengths(self) -> Tensor:
        """Words of each, int64 (N,)."""
        return self.offsets.diff()

    @classmethod
    def of(cls, reviews: Iterable[Annotated]) -> "Reviews":
        """Put reviews one after the other; those without a word are left out.

        Args:
            reviews: any number.

        Returns:
            All of them.

        Raises:
            ValueError: if a rating is not in [0, 1], or a review's relevance has another length than its words.
        """
        kept = [review for review in reviews if len(review.words)]
        for review in kept:
            if not (math.isnan(review.rating) or 0 <= review.rating <= 1):
                raise ValueError(f"a rating is {review.rating}, expected a number in [0, 1]: divide by the highest.")
            if review.relevant is not None and len(review.relevant) != len(review.words):
                raise ValueError(
                    f"a review has {len(review.words)} words and says of {len(review.relevant)} whether they are "
                    "relevant, expected as many: check the annotations."
                )
        lengths = torch.tensor([len(review.words) for review in kept], dtype=torch.long)
        return cls(
            torch.tensor([word for review in kept for word in review.words], dtype=torch.int32),
            torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]),
            torch.tensor([review.rating for review in kept], dtype=torch.float32),
            torch.tensor(
                [bool(x) for review in kept for x in (review.relevant or (False,) * len(review.words))],
                dtype=torch.bool,
            ),
            torch.tensor([review.relevant is not None for review in kept], dtype=torch.bool),
        )

    @classmethod
    def joined(cls, first: "Reviews", second: "Reviews") -> "Reviews":
        """The reviews of two, one after the other.

        Args:
            first: some reviews.
            second: others over the same vocabulary.

        Returns:
            All of them.
        """
        return cls(
            torch.cat([first.words, second.words]),
            torch.cat([first.offsets, second.offsets[1:] + first.offsets[-1]]),
            torch.cat([first.ratings, second.ratings]),
            torch.cat([first.relevant, second.relevant]),
            torch.cat([first.annotated, second.annotated]),
        )

    def select(self, chosen: Tensor, most: int, least: int = 1) -> Batch:
        """Some of the reviews, cut and padded.

        Args:
            chosen: which ones, (B,).
            most: words after which a review is cut.
            least: the smallest width of the batch.

        Returns:
            A batch as wide as its longest review, or `least`.
        """
        first = self.offsets[chosen]
        lengths = (self.offsets[chosen + 1] - first).clamp(max=most)
        width = max(least, int(lengths.max()))
        place = torch.arange(width)
        present = place < lengths.unsqueeze(-1)
        at = (first.unsqueeze(-1) + place).clamp(max=len(self.words) - 1)
        return Batch(
            self.words[at].long().masked_fill(~present, PAD),
            lengths,
            self.ratings[chosen],
            self.relevant[at] & present,
            self.annotated[chosen],
        )

    def take(self, chosen: Tensor) -> "Reviews":
        """Some of the reviews, whole.

        Args:
            chosen: which ones, int64.

        Returns:
            Those, in that order.
        """
        lengths = self.lengths[chosen]
        ends = lengths.cumsum(0)
        starts = self.offsets[chosen] - (ends - lengths)
        at = torch.arange(int(ends[-1]) if len(ends) else 0) + starts.repeat_interleave(lengths)
        return replace(
            self,
            words=self.words[at],
            offsets=torch.cat([torch.zeros(1, dtype=torch.long), ends]),
            ratings=self.ratings[chosen],
            relevant=self.relevant[at],
            annotated=self.annotated[chosen],
        )
