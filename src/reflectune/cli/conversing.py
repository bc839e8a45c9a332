"""A conversation at the terminal: the prompt, what is typed at it, and the answers."""

from __future__ import annotations

import asyncio
import errno
import shlex
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path

from rich.text import Text

from reflectune.cli.chat_screen import Screen, console, told
from reflectune.cli.screen import clean, complain
from reflectune.errors import ReflectuneError, RunError, SettingsError
from reflectune.inference import Answered, Conversation, Exchange, Part
from reflectune.tags import Stream

__all__ = ["Prompter"]

_INTERRUPTED = 130
_HELP = """\
/show         show the thinking, that of the last answer too
/hide         fold it: only its length is told
/again        have the last question answered anew
/save FILE    write the conversation: .md for people, anything else as JSON
/new          begin anew
/exit         end; Ctrl-D does so too
A line that ends with \\ goes on in the next one. Ctrl-C stops an answer; at the prompt it ends the conversation."""


class Prompter:
    """Asks what is typed, and shows the answers.

    Args:
        conversation: What is gone on with.
        runner: Runs the answers, all in one event loop: connections live in it.
        name: The model's name.
        shown: Whether thinking is shown, and not folded.
    """

    def __init__(self, conversation: Conversation, runner: asyncio.Runner, name: str, *, shown: bool) -> None:
        self._conversation = conversation
        self._runner = runner
        self._name = name
        self._shown = shown
        self._out = console()
        self._saved: set[Path] = set()
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: self._say(_HELP),
            "/show": lambda _: self._unfold(),
            "/hide": lambda _: self._fold(),
            "/again": lambda _: self._again(),
            "/save": self._save,
            "/new": lambda _: self._begin_anew(),
        }

    def converse(self) -> int:
        """Hold the conversation, and give the exit code."""
        with suppress(ImportError):  # not on every platform
            import readline  # noqa: F401 - its import is what lets lines be edited
        settings = self._conversation.settings
        ways = [f"{settings.rounds} round{'s' * (settings.rounds > 1)} of critique"] * (settings.rounds > 0)
        ways += [f"best of {settings.best_of}"] * (settings.best_of > 1)
        ways += [f"reflect: {settings.reflecting}"] * (settings.rounds == 0 or settings.reflecting != "off")
        before = len(self._conversation.exchanges)
        ways += [f"goes on after {before} question{'s' * (before != 1)}"] * (before > 0)
        self._say(f"{clean(self._name)} · {', '.join(ways)} · /help says what else there is")
        while True:
            try:
                line = self._line()
            except EOFError:
                self._out.print()
                return 0
            except KeyboardInterrupt:
                self._out.print()
                return _INTERRUPTED
            if line.strip() in ("/exit", "/quit"):
                return 0
            if line.strip():
                self._heed(line)

    def _line(self) -> str:
        lines = [input(self._prompt("> "))]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(input(self._prompt(". ")))
        # What a terminal sends may not be text
        return "\n".join(lines).encode("utf-8", "replace").decode("utf-8", "replace")

    def _prompt(self, text: str) -> str:
        """The prompt in bold; readline has to be told what takes no room."""
        if not self._out.is_terminal or self._out.is_dumb_terminal or "readline" not in sys.modules:
            return text
        return f"\001\x1b[1m\002{text}\001\x1b[0m\002"

    def _heed(self, line: str) -> None:
        """Do what a line says, and say what goes wrong: the conversation goes on."""
        try:
            if not line.startswith("/"):
                self._answer(self._conversation.ask(line.strip()))
                return
            name, _, rest = line.strip().partition(" ")
            if name not in self._commands:
                raise SettingsError(f"There is no {clean(name)}.", mend="/help says what there is.")
            self._commands[name](rest.strip())
        except ReflectuneError as error:
            complain(error)

    def _answer(self, events: AsyncGenerator[Part | Answered]) -> None:
        screen = Screen(self._out, self._out, "shown" if self._shown else "folded")
        try:
            self._runner.run(told(events, screen, lambda: self._conversation.waiting))
        except KeyboardInterrupt:
            screen.close()
            self._say("Stopped: the conversation is as it was before the question.")
        except ReflectuneError:
            screen.close()
            raise

    def _again(self) -> None:
        if not self._conversation.exchanges:
            raise SettingsError("Nothing was asked yet.", mend="Ask something.")
        self._answer(self._conversation.again())

    def _unfold(self) -> None:
        self._shown = True
        if self._conversation.exchanges:
            self._show_again(self._conversation.exchanges[-1])
        self._say("Thinking is shown.")

    def _show_again(self, last: Exchange) -> None:
        """The thinking of an answer, as it was shown where its tags tell the parts."""
        stream, screen = Stream(think=True), Screen(self._out, self._out, "shown")
        parts = [part for part in (*stream.feed(last.raw), *stream.end()) if part.kind in ("thinking", "reflection")]
        if not parts and last.thinking:
            parts = [Part("thinking", last.thinking, "", begins=True)]
        for part in parts:
            screen.take(part)
        screen.close()

    def _fold(self) -> None:
        self._shown = False
        self._say("Thinking is folded.")

    def _begin_anew(self) -> None:
        self._conversation.clear()
        self._say("What was said is forgotten.")

    def _save(self, rest: str) -> None:
        try:
            words = shlex.split(rest)
        except ValueError:
            words = [rest]
        if len(words) != 1:
            raise SettingsError("/save takes one file.", mend="Write /save talk.md, or /save talk.json.")
        try:
            path = Path(words[0]).expanduser()
            if path.is_file() and path not in self._saved:
                raise FileExistsError(errno.EEXIST, "it is there already", str(path))
            self._conversation.save(path)
            self._saved.add(path)
        except (OSError, ValueError, RuntimeError) as error:  # pathlib's, for a name that none can have
            why = getattr(error, "strerror", None) or error
            raise RunError(f"{words[0]} cannot be written: {why}.", mend="Name another file.") from None
        self._say(f"Saved: {path}")

    def _say(self, text: str) -> None:
        self._out.print(Text(text, "dim"))
