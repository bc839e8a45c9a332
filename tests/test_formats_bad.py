"""Files that cannot be read: each says which file, which line, and the mend."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from reflectune.errors import InputError
from reflectune.formats import open_source, parse_mapping

ROW = '{"instruction": "a", "output": "b"}'
LINE = f"{ROW}\n"
PACKED = gzip.compress((LINE * 1_000).encode(), mtime=0)  # no time in the names of tests


@pytest.mark.parametrize(
    ("name", "content", "what", "mend"),
    [
        ("a.jsonl", "", "a.jsonl: the file is empty", "at least one row"),
        ("a.jsonl", "\n \n", "a.jsonl: holds no rows", "at least one row"),
        ("a.json", "[ ]", "a.json: holds no rows", "at least one row"),
        ("a.csv", "instruction,output\n", "a.csv: holds no rows", "at least one row"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "a.jsonl.gz: holds no rows", "at least one row"),
        ("a.txt", LINE, "unknown kind of file '.txt'", ".jsonl"),
        ("a.parquet.gz", LINE, "unknown kind of file '.gz'", ".parquet"),
        (
            "a.jsonl",
            LINE * 2 + '{"instruction": "a, "output": 1}\n' + LINE,
            "line 3, column 22: broken JSON",
            "this line",
        ),
        ("a.jsonl", LINE + '{"instruction": "a', "line 2, column 17: broken JSON: Unterminated string", "this line"),
        ("a.jsonl", LINE + '{"a":' * 100_000, "line 2: the JSON is nested too deeply", "this line"),
        ("a.jsonl", LINE + '{"a": ' + "9" * 5_000 + "}\n", "line 2: the JSON is nested", "this line"),
        ("a.json", '[{"a": ' + "9" * 5_000 + "}]", "line 1: the JSON is nested", "this line"),
        ("a.jsonl", LINE + "[1]\n", "line 2: the row is a list, not an object", "named columns"),
        ("a.jsonl", LINE + "null\n", "line 2: the row is null, not an object", "named columns"),
        ("a.json", json.dumps(json.loads(ROW), indent=1), "line 1, column 2: broken JSON", "one object per line"),
        ("a.json", f'[\n{ROW},\n{{"instruction" "x"}}, {ROW}]', "line 3, column 16: broken JSON", "this line"),
        ("a.json", f"[{ROW} {ROW}]", "line 1, column 38: broken JSON: Expecting ',' or ']' (row 1)", "this line"),
        ("a.json", f"[{ROW},]", "line 1, column 38: broken JSON: Expecting value (row 2)", "this line"),
        ("a.json", f"[{ROW}]\n]", "line 2, column 1: broken JSON: text after the end", "this line"),
        ("a.json", f"[\n{ROW},\n{ROW[:-3]}", "line 3: the JSON array is cut off in or after row 2", "again"),
        ("a.json", f"[\n{ROW}", "line 2: the JSON array is cut off in or after row 1", "again"),
        ("a.json", "[" * 100_000, "line 1: the JSON is nested too deeply", "this line"),
        ("a.json", f"[{ROW}, 3]", "row 2, line 1: the row is a plain value", "named columns"),
        ("a.jsonl.gz", PACKED[:-30], "a.jsonl.gz: the gzip file is cut off", "again"),
        ("a.jsonl.gz", LINE, "a.jsonl.gz: not a sound gzip file", "take .gz off its name"),
        ("a.jsonl.gz", PACKED[:20] + b"xxxx" + PACKED[24:], "a.jsonl.gz: not a sound gzip file", "Copy it again"),
        ("a.jsonl", LINE + ROW.replace("b", "\0"), "line 2: NUL byte in the text", "tr -d '\\000'"),
        ("a.csv", "instruction,output\na,b\0\n", "line 2: NUL byte in the text", "cat 'a.csv' | tr"),
        ("a.jsonl", LINE.encode("utf-16"), "a.jsonl: the text is UTF-16", "iconv -f UTF-16 -t UTF-8 'a.jsonl'"),
        ("a.csv", "instruction,output".encode("utf-16-le"), "a.csv: the text is UTF-16", "iconv -f UTF-16"),
        (
            "a.jsonl",
            (LINE + ROW.replace('"b"', '"é"')).encode("latin-1"),
            "line 2: the text is not UTF-8: byte 0xe9 at offset 68",
            "iconv -f WINDOWS-1252",
        ),
        (
            "a.json.gz",
            gzip.compress(f"[\n{ROW.replace('b', 'é')}]".encode("latin-1"), mtime=0),
            "line 2: the text is not UTF-8",
            "zcat 'a.json.gz' | iconv",
        ),
        ("a.csv", "instruction,output\na,b\nc,d,e\n", "line 3: 3 fields where the header has 2", "double quotes"),
        ("a.csv", "instruction,output\na\n", "line 2: 1 fields where the header has 2", "double quotes"),
        ("a.csv", 'instruction,output\n"a"x,b\n', "line 2: broken CSV", "double quotes"),
        ("a.csv", 'instruction,output\n"a,b\n', "line 2: broken CSV: unexpected end", "double quotes"),
        ("a.csv", "x,x\n1,2\n", "line 1: the first row names the columns, and names 'x' twice", "header"),
        ("a.csv", "How are you?,Fine\nAnd you?,Well\n", "columns: 'How are you?', 'Fine'", "--map"),
        ("a.parquet", b"PAR1 and nothing", "a.parquet: not a sound Parquet file", "again"),
        ("a.jsonl", '{"text": "a"}\n', "among its columns: 'text'", "--map instruction=COLUMN,response=COLUMN"),
        (
            "a.jsonl",
            '{"prompt": "a", "n": 1}\n',
            "no response column among its columns: 'prompt', 'n'",
            "instruction=prompt",
        ),
        (
            "a.jsonl",
            '{"instruction": "a", "output": "b", "response": "c"}',
            "more than one reading",
            "response=response",
        ),
        ("a.jsonl", '{"prompt": "a", "question": "b", "answer": "c"}', "more than one reading", "instruction=question"),
        ("a.jsonl", '{"messages": [{}], "conversations": [{}]}', "more than one reading", "--map messages=messages"),
        (
            "a.jsonl",
            '{"prompt": "a", "chosen": "b", "rejected": "c"}',
            "preference data",
            "instruction=prompt,response=chosen",
        ),
    ],
)
def test_a_bad_file_says_what_and_how_to_mend_it(
    tmp_path: Path, name: str, content: str | bytes, what: str, mend: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        list(open_source(path).rows())
    assert what in caught.value.what
    assert str(path) in caught.value.what
    assert mend in caught.value.mend


def test_a_missing_file_has_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(LINE)
    with pytest.raises(InputError, match=r"no such file\nDid you mean .*train\.jsonl\?"):
        open_source(tmp_path / "trian.jsonl")
    with pytest.raises(InputError, match="no such file\nCheck the path"):
        open_source(tmp_path / "nothing" / "alike.jsonl")
    (tmp_path / "broken.json").write_text(LINE)
    with pytest.raises(InputError, match="no such file\nCheck the path"):
        open_source(tmp_path / "nope.json")  # only the ending is alike
    with pytest.raises(InputError, match=r"Did you mean .*train\.jsonl\?"):
        open_source(tmp_path / "train.json")


def test_a_folder_lists_its_data_files(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(LINE)
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(InputError, match=r"a folder, not a file\nName a file in it: train\.jsonl$"):
        open_source(tmp_path)


def test_a_mapped_column_that_is_not_there_has_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "a", "solution": "b"}\n')
    with pytest.raises(InputError, match=r"no column 'solutoin' for response[^\n]*\nDid you mean 'solution'"):
        open_source(tmp_path / "a.jsonl", mapping=parse_mapping("instruction=question,response=solutoin"))


def test_a_fault_after_the_first_rows_is_found_while_reading(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINE * 200 + "{\n")
    rows = open_source(tmp_path / "a.jsonl").rows()
    assert [next(rows).number for _ in range(200)] == list(range(1, 201))
    with pytest.raises(InputError, match="line 201"):
        next(rows)


def test_an_unreadable_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text(LINE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read: Permission denied"):
        open_source(tmp_path / "a.jsonl")
