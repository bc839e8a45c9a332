"""Which shape a data set has, and which columns hold what."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import Field

from reflectune.errors import InputError, SettingsError
from reflectune.formats.columns import locate_columns
from reflectune.formats.text import Pair, UnreadableRow, replaced, split_path
from reflectune.formats.turns import locate_conversation, locate_tree
from reflectune.records import Example, Record, Version

Shape = Literal["alpaca", "prompt-completion", "seed-tasks", "mapped", "sharegpt", "messages", "oasst"]
TEXT_TARGETS = ("instruction", "input", "response", "system", "history")
TURN_TARGETS = ("conversations", "messages")
_MAP_EXAMPLE = "--map instruction=COLUMN,response=COLUMN"


class Mapping(Record):
    """How the rows of a data set are read and written back.

    Attributes:
        shape: The shape of a row.
        columns: Where things are, by name: `instruction`, `input`, `response`, `system`, `history` for columns (a value
            may be a dotted path, such as `chosen.value`); `turns`, and `system` where it is a column, for
            conversations; `tree` for trees.
    """

    shape: Shape
    columns: dict[str, str] = Field(min_length=1)

    def describe(self) -> str:
        """The mapping in one line for people."""
        if self.shape == "oasst":
            tree = self.columns["tree"]
            return f"{self.shape}: the last exchange on the best-ranked path of {tree}, earlier turns as history"
        if "turns" in self.columns:
            system = f", system <- {self.columns['system']}" if "system" in self.columns else ""
            return f"{self.shape}: the last exchange of {self.columns['turns']}, earlier turns as history{system}"
        pairs = (f"{name} <- {self.columns[name]}" for name in TEXT_TARGETS if name in self.columns)
        return f"{self.shape}: {', '.join(pairs)}"

    def locate(self, row: dict[str, Any]) -> Pair:
        """Find the pair of a row.

        Raises:
            UnreadableRow: The row holds no usable pair.
        """
        if "tree" in self.columns:
            pair = locate_tree(row, self.columns["tree"])
        elif "turns" in self.columns:
            pair = locate_conversation(row, self.columns["turns"], self.columns.get("system"))
        else:
            pair = locate_columns(row, self.columns)
        pair.check()
        return pair

    def read(self, row: dict[str, Any], name: str = "") -> Example:
        """Read a row as an example.

        Args:
            row: The row as it was read.
            name: The example's id.

        Raises:
            UnreadableRow: The row holds no usable pair.
        """
        pair = self.locate(row)
        return Example(
            id=name,
            instruction=pair.instruction,
            response=pair.response,
            input=pair.input,
            system=pair.system,
            history=pair.history,
        )

    def write(self, row: dict[str, Any], version: Version) -> dict[str, Any]:
        """The row with another version in the fields that were read; every other field and the columns' order stay.

        A field whose text did not change keeps its value to the letter, a placeholder or a number for instance. Where
        the shape has no field for an input, the version's input follows its instruction.

        Args:
            row: The row as it was read; it is not changed.
            version: What to write.

        Raises:
            InputError: The row holds no pair to replace.
        """
        try:
            pair = self.locate(row)
        except UnreadableRow as fault:
            raise InputError(f"a version cannot be written into this row: {fault.detail}") from fault
        instruction = version.instruction
        if pair.input_path is None and version.input.strip():
            instruction = f"{instruction}\n\n{version.input}"
        new = dict(row)
        if instruction != pair.instruction:
            new = replaced(new, pair.instruction_path, instruction)
        if pair.input_path is not None and version.input != pair.input:
            new = replaced(new, pair.input_path, version.input)
        if version.response != pair.response:
            new = replaced(new, pair.response_path, version.response)
        return new

    def other_columns(self, row: dict[str, Any]) -> dict[str, Any]:
        """The columns of a row that the mapping does not read."""
        used = {str(split_path(name)[0]) for name in self.columns.values()} | set(self.columns.values())
        return {column: value for column, value in row.items() if column not in used}


def parse_mapping(text: str) -> Mapping:
    """Read what `--map` says: `instruction=question,response=solution`.

    Targets are `instruction` and `response` (both needed), `input`, `system` and `history`; or `messages` or
    `conversations` alone (with `system` where it is a column) for a list of turns. A source is a column or a dotted
    path, such as `conversations.-1.value`; negative indices count from the end.

    Raises:
        SettingsError: The text is not such a list, or names an unknown target.
    """
    columns: dict[str, str] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        target, equals, column = (piece.strip() for piece in item.partition("="))
        if not equals or not target or not column:
            raise SettingsError(
                f"--map: {item!r} is not of the form TARGET=COLUMN", mend=f"Write for example {_MAP_EXAMPLE}"
            )
        known = (*TEXT_TARGETS, *TURN_TARGETS)
        if target not in known:
            raise SettingsError(f"--map: unknown target {target!r}", mend=did_you_mean(target, known))
        if target in columns:
            raise SettingsError(f"--map: {target} is given twice", mend="Give each target one column")
        columns[target] = column
    return _mapping_of(columns)


def _mapping_of(columns: dict[str, str]) -> Mapping:
    turns = [target for target in TURN_TARGETS if target in columns]
    if turns:
        if len(turns) > 1 or set(columns) - {turns[0], "system"}:
            raise SettingsError(
                f"--map: {turns[0]} says where the whole conversation is, and goes with nothing but system",
                mend=f"Write --map {turns[0]}=COLUMN alone, or name texts: {_MAP_EXAMPLE}",
            )
        shape: Shape = "messages" if turns[0] == "messages" else "sharegpt"
        return Mapping(
            shape=shape, columns={"turns" if name == turns[0] else name: column for name, column in columns.items()}
        )
    missing = [target for target in ("instruction", "response") if target not in columns]
    if missing:
        raise SettingsError(f"--map: no column for {' and '.join(missing)}", mend=f"Write for example {_MAP_EXAMPLE}")
    return Mapping(shape="mapped", columns=columns)


def did_you_mean(name: str, known: tuple[str, ...] | list[str]) -> str:
    """A mend that names the closest of the known names, and all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return f"{guess}There are: {', '.join(known)}"
