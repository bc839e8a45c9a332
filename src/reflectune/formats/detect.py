"""Find out the shape of a data set from its first rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reflectune.errors import InputError
from reflectune.formats.mapping import Mapping, did_you_mean
from reflectune.formats.text import find, path_in

INSTRUCTIONS = ("instruction", "prompt", "question", "query")
RESPONSES = ("output", "response", "completion", "answer")
INPUTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
PREFERENCES = ("chosen", "rejected")
_LONGEST_LIST = 30


class Columns:
    """The columns of the first rows, found by name whatever its case.

    Args:
        rows: The first rows of a data set; at least one.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.names = list(dict.fromkeys(column for row in rows for column in row))
        self._by_name: dict[str, str] = {}
        for name in self.names:
            self._by_name.setdefault(str(name).casefold(), name)

    def holds(self, column: str, test: Callable[[Any], bool]) -> bool:
        """Whether any of the rows has such a value in the column."""
        return any(test(row.get(column)) for row in self._rows)

    def of_text(self, known: tuple[str, ...]) -> list[str]:
        """Those of the known names that are columns of texts, as the data set spells them."""
        found = [self._by_name[name] for name in known if name in self._by_name]
        return [column for column in found if self.holds(column, _is_text) or not self.holds(column, _is_nested)]

    def listed(self) -> str:
        """The columns for an error."""
        more = len(self.names) - _LONGEST_LIST
        names = ", ".join(map(repr, self.names[:_LONGEST_LIST]))
        return f"{names} and {more} more" if more > 0 else names


def _is_text(value: Any) -> bool:
    return isinstance(value, (str, int, float))


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, dict))


def detect(rows: list[dict[str, Any]], name: str) -> Mapping:
    """The mapping that the rows call for.

    Args:
        rows: The first rows of a data set; at least one.
        name: What to call the data set in an error.

    Raises:
        InputError: No shape fits, or more than one does.
    """
    columns = Columns(rows)
    if all(preference in columns.names for preference in PREFERENCES):
        raise _preferences(columns, name)
    found = [*_conversations(columns), *_tree(columns), *_seed_tasks(columns)] or _texts(columns)
    if not found:
        raise _unknown(columns, name)
    if len(found) > 1:
        choices = "\n".join(f"  --map {_as_map(mapping)}" for mapping in found)
        raise InputError(f"{name}: more than one reading of its columns is possible", mend=f"Choose one:\n{choices}")
    return found[0]


def check_columns(mapping: Mapping, rows: list[dict[str, Any]], name: str) -> None:
    """See that each mapped column is there in at least one of the first rows.

    Raises:
        InputError: One is not.
    """
    names = Columns(rows).names
    for target, column in mapping.columns.items():
        if column in names or any(find(row, path_in(row, column)) is not None for row in rows):
            continue
        raise InputError(
            f"{name}: no column {column!r} for {target} in its first rows", mend=did_you_mean(column, names)
        )


def _conversations(columns: Columns) -> list[Mapping]:
    def is_turns(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and isinstance(value[0], (dict, str))

    system = dict(zip(("system",), columns.of_text(SYSTEMS), strict=False))
    shapes = [("sharegpt", "conversations"), ("sharegpt", "conversation"), ("messages", "messages")]
    return [
        Mapping(shape=shape, columns={"turns": column, **system})
        for shape, column in shapes
        if columns.holds(column, is_turns)
    ]


def _tree(columns: Columns) -> list[Mapping]:
    is_tree = columns.holds("prompt", lambda value: isinstance(value, dict) and "text" in value and "replies" in value)
    return [Mapping(shape="oasst", columns={"tree": "prompt"})] if is_tree else []


def _seed_tasks(columns: Columns) -> list[Mapping]:
    def is_instances(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "output" in value[0]

    if not columns.of_text(("instruction",)) or not columns.holds("instances", is_instances):
        return []
    places = {"instruction": "instruction", "input": "instances.0.input", "response": "instances.0.output"}
    return [Mapping(shape="seed-tasks", columns=places)]


def _texts(columns: Columns) -> list[Mapping]:
    instructions, responses = columns.of_text(INSTRUCTIONS), columns.of_text(RESPONSES)
    inputs = columns.of_text(INPUTS)
    if not instructions:
        instructions, inputs = inputs, []
    shape = "prompt-completion"
    # The columns of alpaca and the usual pair of prompt and completion go together, whatever else there is.
    for instruction, answers in (("instruction", RESPONSES[:2]), ("prompt", ("completion",))):
        family = columns.of_text(answers)
        if family and columns.of_text((instruction,)):
            shape = "alpaca" if instruction == "instruction" else shape
            instructions, responses = columns.of_text((instruction,)), family
            break
    history = ["history"] if "history" in columns.names else []
    extras = zip(("input", "system", "history"), (inputs, columns.of_text(SYSTEMS), history), strict=True)
    rest = {target: found[0] for target, found in extras if found}
    return [
        Mapping(shape=shape, columns=_ordered({"instruction": instruction, "response": response, **rest}))
        for instruction in instructions
        for response in responses
    ]


def _ordered(columns: dict[str, str]) -> dict[str, str]:
    return {
        target: columns[target]
        for target in ("instruction", "input", "response", "system", "history")
        if target in columns
    }


def _as_map(mapping: Mapping) -> str:
    turns = "messages" if mapping.shape == "messages" else "conversations"
    return ",".join(f"{turns if target == 'turns' else target}={column}" for target, column in mapping.columns.items())


def _preferences(columns: Columns, name: str) -> InputError:
    prompt = next(iter(columns.of_text(INSTRUCTIONS)), None)
    if turns := _conversations(columns):
        column = turns[0].columns["turns"]
        key = "value" if turns[0].shape == "sharegpt" else "content"
        line = f"instruction={column}.-1.{key},response=chosen.{key},history={column}"
    else:
        line = f"instruction={prompt or 'COLUMN'},response=chosen"
    return InputError(
        f"{name}: preference data with two responses a row, chosen and rejected",
        mend=f"Say which one to read, for example --map {line}",
    )


def _unknown(columns: Columns, name: str) -> InputError:
    instructions = columns.of_text(INSTRUCTIONS) or columns.of_text(INPUTS)
    instruction = instructions[0] if instructions else "COLUMN"
    response = next(iter(columns.of_text(RESPONSES)), "COLUMN")
    what = "no response column" if instructions else "no instruction and response, conversation or message tree"
    return InputError(
        f"{name}: {what} among its columns: {columns.listed()}",
        mend=f"Name the columns if they are there: --map instruction={instruction},response={response}. "
        "Rows without a response cannot be recycled.",
    )
