"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflectune.files import replacing, write_whole


@pytest.mark.parametrize("content", ["two\r\nlines, 两行\n", b"\xff\x00"])
def test_a_file_is_what_was_written(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    write_whole(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode("utf-8"))
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with replacing(path) as part:
        part.write_text("half of ")
        assert path.read_text() == "before"
    assert path.read_text() == "half of "


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise RuntimeError("the model is gone")

    with pytest.raises(RuntimeError, match="the model is gone"):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("taken", [True, False])
def test_a_place_that_cannot_be_written_is_told(taken: bool, tmp_path: Path) -> None:
    path = tmp_path / "taken" if taken else tmp_path / "nowhere" / "file.txt"
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match=r"taken|nowhere"):
        write_whole(path, "text")
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]
