"""Which rows make a step, and how they are split."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.errors import SettingsError
from reflectune.training.batches import check_split, held_out_packs, schedule, steps_of


@given(
    rows=st.integers(1, 200),
    batch=st.integers(1, 64),
    epochs=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    seed=st.integers(0, 5),
)
def test_every_row_is_seen_as_often_as_asked(rows: int, batch: int, epochs: float, seed: int) -> None:
    steps = steps_of(rows, batch=batch, epochs=epochs, seed=seed)
    seen = Counter(row for step in steps for row in step)
    assert sum(seen.values()) == max(round(rows * epochs), 1)
    if epochs >= 1:
        assert set(seen) == set(range(rows))
        assert set(seen.values()) == {int(epochs)}
    sizes = [len(step) for step in steps]
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_each_epoch_has_its_own_order_and_the_seed_decides() -> None:
    steps = steps_of(50, batch=50, epochs=2, seed=3)
    assert sorted(steps[0]) == sorted(steps[1]) == list(range(50))
    assert steps[0] != steps[1]
    assert steps == steps_of(50, batch=50, epochs=2, seed=3)
    assert steps != steps_of(50, batch=50, epochs=2, seed=4)


def test_no_more_steps_than_asked() -> None:
    assert steps_of(50, batch=10, epochs=3, seed=0, max_steps=2) == steps_of(50, batch=10, epochs=3, seed=0)[:2]


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=60),
    devices=st.integers(1, 4),
    batch=st.integers(1, 20),
    limit=st.sampled_from([0, 100, 250, 1000]),
)
def test_a_step_is_split_without_loss_and_within_what_a_device_reads(
    lengths: list[int], devices: int, batch: int, limit: int
) -> None:
    steps = steps_of(len(lengths), batch=batch, epochs=1, seed=0)
    split = schedule(steps, lengths, devices=devices, batch_tokens=limit)
    assert len(split.steps) == len(steps)
    for step, packs in zip(steps, split.steps, strict=True):
        assert len(packs) == devices * split.readings
        assert sorted(row for pack in packs for row in pack) == sorted(step)
        if limit:
            assert all(sum(lengths[row] for row in pack) <= limit for pack in packs)
        else:
            assert all(len(pack) <= 1 for pack in packs)
    assert len(split.packs) == len(steps) * devices * split.readings


def test_rows_are_packed_evenly_and_into_few_packs() -> None:
    split = schedule([range(8)], [100, 90, 80, 70, 60, 50, 40, 30], devices=2, batch_tokens=300)
    loads = [sum([100, 90, 80, 70, 60, 50, 40, 30][row] for row in pack) for pack in split.steps[0]]
    assert loads == [260, 260]
    assert split.readings == 1


def test_held_out_rows_are_all_measured() -> None:
    split = held_out_packs([10] * 7, devices=2, batch_tokens=20)
    assert sorted(row for pack in split.packs for row in pack) == list(range(7))
    assert len(split.packs) % 2 == 0


@pytest.mark.parametrize(("batch", "devices", "mend"), [(128, 3, "126 or 129"), (4, 8, "8"), (10, 4, "8 or 12")])
def test_an_impossible_split_names_the_nearest_possible_ones(batch: int, devices: int, mend: str) -> None:
    with pytest.raises(SettingsError, match="cannot be split evenly") as caught:
        check_split(batch, devices)
    assert f"--batch to {mend}." in caught.value.mend


def test_an_even_split_is_fine() -> None:
    check_split(128, 8)
