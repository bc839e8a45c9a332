"""Rows that are conversations: sharegpt, OpenAI messages, and the message trees of Open Assistant.

The last exchange between user and assistant is the pair, what comes before it is history, and what comes after it
stays in the row untouched. Tool turns before the pair are history too. Where they stand between question and answer,
the answer rests on the results of calls that a new question would not have made: such a row is no plain pair and fails
with `tool-call`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflectune.formats.text import CALL_PARTS, Pair, Path, UnreadableRow, call_text, dotted, part_type, text_of
from reflectune.records import Message, Role

ROLE_KEYS = ("role", "from")
TEXT_KEYS = ("content", "value", "text")
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
_CALL_ROLES = frozenset({"function_call", "tool_call"})
_CALL_KEYS = ("tool_calls", "function_call")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation, and where its text lies in the row.

    Attributes:
        role: Who speaks.
        text: What is said; a function call as JSON.
        path: Where the text lies.
        tool: Whether it is a function call or its result.
    """

    role: Role
    text: str
    path: Path
    tool: bool = False


def locate_conversation(row: dict[str, Any], column: str, system: str | None) -> Pair:
    """Find the last exchange of a row's conversation.

    Args:
        row: The row as it was read.
        column: The column that holds the list of turns.
        system: The column that holds the system prompt, where it is not a turn.

    Raises:
        UnreadableRow: There is no plain exchange of texts.
    """
    turns = row.get(column)
    if not isinstance(turns, list):
        raise UnreadableRow("not-text", f"{column} is not a list of turns")
    prompt = text_of(row.get(system), system) if system else ""
    return last_exchange(read_turns(turns, (column,)), prompt)


def locate_tree(row: dict[str, Any], column: str) -> Pair:
    """Find the last exchange on the best-ranked path of a message tree: at each level the reply of the lowest rank.

    Replies without a rank come after those that have one; deleted ones are passed over.

    Raises:
        UnreadableRow: There is no exchange of texts on that path.
    """
    node, path, turns = row.get(column), (column,), []
    while isinstance(node, dict):
        turns.append(_turn(node, path))
        replies = node.get("replies") or []
        if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
            raise UnreadableRow("not-text", f"{dotted(path)} has replies that are no list of messages")
        ranked = [(_rank(reply), place) for place, reply in enumerate(replies) if not reply.get("deleted")]
        if not ranked:
            break
        place = min(ranked)[1]
        node, path = replies[place], (*path, "replies", place)  # type: ignore[assignment]
    return last_exchange(turns)


def _rank(reply: dict[str, Any]) -> float:
    rank = reply.get("rank")
    return float(rank) if isinstance(rank, (int, float)) else float("inf")


def read_turns(entries: list[Any], path: Path) -> list[Turn]:
    """Read a list of turns: objects with a role and a text, or bare texts that take turns, the user's first.

    Args:
        entries: The list.
        path: Where it lies in the row.

    Raises:
        UnreadableRow: An entry is no turn.
    """
    return [
        Turn("assistant" if place % 2 else "user", entry, (*path, place))
        if isinstance(entry, str)
        else _turn(entry, (*path, place))
        for place, entry in enumerate(entries)
    ]


def _turn(entry: Any, path: Path) -> Turn:
    where = dotted(path)
    if not isinstance(entry, dict):
        raise UnreadableRow("not-text", f"{where} is not a turn with a role and a text")
    name = next((str(entry[key]) for key in ROLE_KEYS if key in entry), "")
    role = _ROLES.get(name.casefold())
    if role is None:
        raise UnreadableRow("not-text", f"{where} has the unknown role {name!r}" if name else f"{where} has no role")
    key = next((key for key in TEXT_KEYS if key in entry), TEXT_KEYS[0])
    text, calls = text_of(entry.get(key), where), _calls(entry, key)
    if calls:
        text = "\n".join(filter(None, (text, call_text(calls))))
    tool = role == "tool" or name.casefold() in _CALL_ROLES or bool(calls)
    return Turn(role, text, (*path, key), tool)


def _calls(entry: dict[str, Any], key: str) -> list[Any]:
    found = [entry[call] for call in _CALL_KEYS if entry.get(call)]
    if isinstance(content := entry.get(key), list):
        found += [part.get("value", part) for part in content if part_type(part) in CALL_PARTS]
    return found


def last_exchange(turns: list[Turn], system: str = "") -> Pair:
    """The last question of the user that the assistant answered, with everything before it as history.

    Args:
        turns: The conversation, oldest turn first.
        system: A system prompt that is not among the turns; otherwise the first turn is it, if it is one.

    Raises:
        UnreadableRow: Nobody asks, nobody answers, or tools stand between.
    """
    start = 1 if turns and turns[0].role == "system" and not system else 0
    asked = [place for place, turn in enumerate(turns) if turn.role == "user"]
    if not asked:
        raise UnreadableRow("no-instruction", "the conversation has no turn of the user")
    answered = [place for place in asked if place + 1 < len(turns) and turns[place + 1].role in {"assistant", "tool"}]
    if not answered:
        raise UnreadableRow("no-response", "the conversation has no turn of the assistant after one of the user")
    place = answered[-1]
    end = next((later for later in asked if later > place), len(turns))
    if any(turn.tool for turn in turns[place:end]):
        raise UnreadableRow(
            "tool-call", "the last answer rests on function calls, so the exchange is no plain pair of texts"
        )
    question, answer = turns[place], turns[place + 1]
    return Pair(
        instruction_path=question.path,
        instruction=question.text,
        response_path=answer.path,
        response=answer.text,
        system=turns[0].text if start else system,
        history=tuple(Message(turn.role, turn.text) for turn in turns[start:place]),
    )
