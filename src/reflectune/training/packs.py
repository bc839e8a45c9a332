"""Packs as tensors: rows one after the other, each with positions of its own, and where they begin."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from reflectune.optional import load_optional
from reflectune.student.runtime import torch_and_transformers
from reflectune.training.batches import Pack, Schedule
from reflectune.training.masks import Masked


class Packs:
    """The packs of a run in the order in which they are read.

    A row is kept once, however often it is read: what a trainer is given are the rows' places, and `collate` makes
    tensors of them when their turn has come.

    Args:
        rows: Every row as tokens.
        split: Which of them make a pack.
        blank: A token that stands where a device has nothing to read; it carries no loss.
    """

    def __init__(self, rows: Sequence[Masked], split: Schedule, blank: int) -> None:
        self._rows = rows
        self._nothing = Masked("", array("i", [blank]), bytes(1))
        self.packs = split.packs

    def dataset(self) -> Any:
        """A `datasets.Dataset` with one pack a row, as the places of its rows."""
        datasets = load_optional("datasets", "reflectune train", extra="train")
        return datasets.Dataset.from_dict({"pack": [list(pack) for pack in self.packs]})

    def trainable(self, pack: Pack) -> int:
        """How many of a pack's tokens carry loss."""
        return sum(sum(self._rows[place].trains) for place in pack)

    def collate(self, some: Sequence[dict[str, Sequence[int]]]) -> dict[str, Any]:
        """One pack as a model reads it.

        Args:
            some: A single row of the data set.

        Returns:
            `input_ids`, `labels` and `position_ids` of shape (1, tokens), and the rows' borders as FlashAttention has
            them.
        """
        torch, _ = torch_and_transformers()
        (one,) = some
        rows = [self._rows[place] for place in one["pack"]] or [self._nothing]
        borders = [0]
        for row in rows:
            borders.append(borders[-1] + len(row.tokens))
        lengths = [end - begin for begin, end in pairwise(borders)]
        where = torch.tensor(borders, dtype=torch.int32)
        return {
            "input_ids": torch.tensor([[token for row in rows for token in row.tokens]]),
            "labels": torch.tensor([[label for row in rows for label in row.labels]]),
            "position_ids": torch.tensor([[place for length in lengths for place in range(length)]]),
            "cu_seq_lens_q": where,
            "cu_seq_lens_k": where,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
