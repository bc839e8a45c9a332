"""Write what each student of a comparison learns from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast, get_args

import orjson
import typer
from rich.table import Table

from reflectune.cli.screen import err
from reflectune.errors import OracleError, RunError, SettingsError
from reflectune.files import write_whole
from reflectune.pipeline.arms import FILE, ArmFacts, Counter, made, read_rows, written
from reflectune.recipe import Arm
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.weights import find_student

_UNWRITTEN = {"base", "reflective"}


def carry_out(
    run: Path,
    output: Path,
    names: Sequence[str],
    *,
    of: Literal["selected", "recycled"] | None,
    student: str,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the arms, and a table of what is in them.

    Raises:
        MissingExtraError: What counts the student's tokens is not installed.
        RunError: The run has written no data, or an arm would be empty.
        SettingsError: There is no such arm, or the folder cannot be written.
    """
    arms = [_named(name.strip()) for name in names]
    rows = read_rows(run, of)
    count = _counter(student)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{output} cannot be made: {error}.", mend="Name another folder with --output.") from error
    facts: dict[Arm, ArmFacts] = {}
    for arm in arms:
        examples = made(arm, rows, count, seed)
        if not examples:
            raise RunError(f"The arm {arm} would be empty: no response of {run} has a token.", mend="Look at the data.")
        facts[arm] = written(arm, examples, output, count)
    told = {name: fact.model_dump() for name, fact in facts.items()}
    write_whole(output / FILE, orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    if not quiet:
        err.print(_table(facts))
        err.print(str(output))
    if as_json:
        typer.echo(orjson.dumps({"folder": str(output), "arms": told}).decode())


def _named(name: str) -> Arm:
    known = [arm for arm in get_args(Arm) if arm not in _UNWRITTEN]
    if name in known:
        return cast("Arm", name)
    near = difflib.get_close_matches(name, known, 1)
    raise SettingsError(
        f"There is no arm {name} to write.", mend=f"Did you mean {near[0]}?" if near else f"Name {', '.join(known)}."
    )


def _counter(student: str) -> Counter:
    _, transformers = torch_and_transformers()
    found = find_student(student)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(found.folder)
    except Exception as error:  # whatever transformers and the hub's library raise
        raise OracleError(
            f"The tokenizer of {student} cannot be read: {str(error).strip().partition(chr(10))[0]}",
            mend="Check the folder or the hub id; a gated model asks for HF_TOKEN.",
        ) from error
    known: dict[str, int] = {}

    def count(text: str) -> int:
        if text not in known:
            known[text] = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return known[text]

    return count


def _table(facts: dict[Arm, ArmFacts]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("arm")
    for name in ("rows", "response tokens", "instruction tokens", "characters a response"):
        table.add_column(name, justify="right")
    for arm, fact in facts.items():
        figures = (fact.rows, fact.response_tokens, fact.instruction_tokens, round(fact.mean_response_characters))
        table.add_row(arm, *(f"{figure:,}" for figure in figures))
    return table
