"""What the README, the docs and --help tell people to type does what they say."""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import world
from documented import PAGES, ROOT, Typed, everything, fenced, in_prose, on_page
from export_rows import small_student
from loopback import Loopback
from reflectune.cli import app
from typing_in import Ended, Typist

COMMANDS = everything()
IN_TURN = {typed.line for page in PAGES for typed in on_page(page) if typed.shell}


@dataclass(frozen=True, slots=True)
class Way:
    """How far commands of a kind are run, the first that fits.

    Attributes:
        pattern: Which commands.
        why: Why they are not just run as they stand; empty where they are.
        more: What is added to the command.
        says: What the error says that it stops with; where it is empty it ends well.
        stays: Whether it serves until it is stopped.
    """

    pattern: str
    why: str = ""
    more: str = ""
    says: str = ""
    stays: bool = False


HUB = r"\b(meta-llama|Qwen|HuggingFaceTB|openai|ORG)/[A-Z\w]|--student gpt2"
WAYS = (
    Way(r"(serve|ui|judge (?!.*--dry-run).*--human)\b", "it serves until it is stopped", stays=True),
    Way(r"run .*--dry-run"),
    Way(r"run runs/", "there is no journey to go on with, and one takes half an hour", says="runs/recipe"),
    Way(r"run (recipe|laptop)", "a journey takes half an hour", "--dry-run"),
    Way(r"verdict", "there is no journey, which takes half an hour", says="There is no folder runs/"),
    Way(rf"train .*({HUB})", "the student is on the hub", "--dry-run", says="cannot be read|needs a GPU"),
    Way(r"train (?!.*--(preview|dry-run)).*--recipe (?!smoke)", "it trains on GPUs", "--dry-run --devices 8"),
    Way(r"train .*--recipe smoke", "it takes minutes", "--dry-run --output trained"),
    Way(rf"(generate|score|gates|traces|arms) .*({HUB})", "the model or the data is on the hub", says="hub|HF_TOKEN"),
    Way(r"benchmark .*--form logprob", "the questions are on the hub", "--dry-run --data data --shots 0"),
    Way(r"benchmark .*--data|benchmark .*--dry-run", more="--dry-run"),
    Way(r"benchmark ", "the questions are on the hub", "--dry-run --data data"),
    Way(r"(generate|chat) runs/", "random weights find no end", "--max-tokens 8"),
    Way(r"runs merge .* \.\.\. ", "it stands for the folders of eight machines", says="There is no"),
    Way(r"runs push", "it would upload", "--dry-run"),
    Way(r"runs merge .*--run runs/data$", "the folder is there already", says="Name a new folder"),
    Way(r"runs decide .*--undo", "nothing was decided", says="Nothing was decided"),
    Way(r".*--budget", "the price of what the loopback server serves is not known", says="price"),
    Way(r"alpaca-eval --annotations (?!runs)", "the published files are not there", says="annotations|df_gamed"),
    Way(r"judge --reviews", "the published files are not there", says="vicuna_reviews"),
    Way(r".*--engine ray", "a cluster is tested elsewhere", says="ray|Ray|cluster"),
    Way(r"recycle data\.(jsonl|csv|parquet)", "runs/data holds other data by now", "--fresh"),
    Way(r"stats .*--plots|report .*--coherence"),
    Way(
        r"(init|recycle|score|select|arms|train|generate|export|gates|stats|traces|leaderboard|report|judge|alpaca-eval"
        r"|chat|doctor|runs)\b"
    ),
)


def way_of(typed: Typed) -> Way | None:
    """How far a command is run; `None` where nobody has said it."""
    words = typed.ours.removeprefix("reflectune ")
    return next((way for way in WAYS if re.match(way.pattern, words)), None)


def spoken(command: str, server: Loopback) -> str:
    """A command with every endpoint at the server, which also stands in for the embedded model where it would write."""
    command = re.sub(r"http://[\w.:]+/v1|(?<=@)URL\b", server.base_url, command)
    if re.match(r"reflectune (score|train|init|run)\b", command):
        return command
    return re.sub(r"(?<=\s)local(?=\s|$)", f"small@{server.base_url}", command)


def seen(ended: Ended, typed: str, way: Way) -> str:
    """What is wrong with how a command ended; empty where nothing is."""
    good = ended.code != 0 and re.search(way.says, ended.stderr) if way.says else ended.code in {0, 3}
    told = "Traceback" not in ended.stderr
    return "" if good and told else f"$ {typed}\n{ended.code}: {ended.stderr[-600:]}"


def asked_small(command: str, server: Loopback) -> str:
    """A command whose model is the embedded one by default, with the server in its place."""
    small = f"small@{server.base_url}"
    if re.match(r"reflectune recycle (?!.*--oracle)", command):
        return f"{command} --oracle {small}"
    if re.match(r"reflectune judge (?!.*(--judge|--human|--reviews))", command):
        return f"{command} --judge {small}"
    return command


@pytest.fixture(scope="session")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture(scope="session")
def little_embedded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which the embedded model is one of a few thousand weights."""
    return world.little_embedded(tmp_path_factory.mktemp("little"))


@pytest.fixture(scope="session")
def typist(
    server: Loopback, little_embedded: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Typist]:
    with Typist(server.base_url, tmp_path_factory.mktemp("notes"), little_embedded) as ready:
        yield ready


@pytest.fixture(scope="session")
def worked_in(typist: Typist, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after much work; not to be written to. Test processes that run beside each other share one."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, ready = base / "world", base / "world-is-ready"
    with (base / "world-is-made").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            world.whole(folder, typist, small_student(tmp_path_factory.mktemp("student")))
            ready.touch()
    return folder


@pytest.mark.parametrize("typed", COMMANDS, ids=lambda typed: typed.line)
def test_the_command_line_takes_every_command(typed: Typed) -> None:
    if typed.ours:
        parse(shlex.split(typed.ours)[1:])


@cache
def command_line() -> Any:
    """The command line, as typer makes it of our functions."""
    return get_command(app)


def parse(words: list[str]) -> Any:
    """Let the command line read words as it does, up to where the command would begin."""
    command: Any = command_line()
    name = "reflectune"
    while hasattr(command, "commands"):
        name = words[0]
        assert name in command.commands, f"there is no command {name}"
        command, words = command.commands[name], words[1:]
    return command.make_context(name, list(words))


@pytest.mark.parametrize("words", ["recycle data.json --orcale x", "recycel data.json", "train data.json --devcies 8"])
def test_a_command_with_a_mistake_would_be_found(words: str) -> None:
    with pytest.raises(Exception, match=r"orcale|recycel|devcies"):
        parse(shlex.split(words))


def test_commands_in_sentences_name_what_there_is() -> None:
    found = list(in_prose())
    assert found
    for typed in found:
        command: Any = command_line()
        words = typed.line.split()[1:]
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        if command is command_line():
            assert not words or words[0].startswith("-"), f"{typed.where}: {typed.line}"
        options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options, f"{typed.where}: {typed.line}: {used - options}"


def test_how_far_every_command_is_run_is_written_down() -> None:
    assert [typed for typed in COMMANDS if typed.ours and way_of(typed) is None] == []


@pytest.mark.server
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(typed.shell and typed.ours for typed in on_page(page))],
    ids=lambda page: page.name,
)
def test_the_commands_of_a_page_run_in_turn(page: Path, typist: Typist, server: Loopback, tmp_path: Path) -> None:
    world.plain(tmp_path)
    lines = [typed.ours for typed in on_page(page) if typed.shell and typed.ours]
    for line in ("reflectune recycle data.json --oracle gpt-4o-mini", *lines):
        ended = typist.type(asked_small(spoken(line, server), server), tmp_path)
        assert ended.code == 0, f"{line}\n{ended.stderr}"


def rest() -> list[tuple[Typed, Way]]:
    """The commands that no page runs in turn and that end by themselves."""
    found = [(typed, way_of(typed)) for typed in COMMANDS if typed.ours and typed.line not in IN_TURN]
    return [(typed, way) for typed, way in found if way and not way.stays]


@pytest.mark.server
@pytest.mark.parametrize("group", sorted({typed.ours.split()[1] for typed, _ in rest()}))
def test_other_commands_run_as_far_as_they_can(
    group: str, typist: Typist, server: Loopback, worked_in: Path, tmp_path: Path
) -> None:
    wrong = []
    for typed, way in rest():
        if typed.ours.split()[1] != group:
            continue
        line = f"{asked_small(spoken(typed.ours, server), server)} {way.more}".strip()
        folder = shutil.copytree(worked_in, tmp_path / "folder")
        wrong.append(seen(typist.type(line, folder, stdin="Why do cats purr?\n", seconds=100), line, way))
        shutil.rmtree(folder)
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.server
@pytest.mark.parametrize(
    "typed",
    [typed for typed in COMMANDS if typed.ours and (way := way_of(typed)) and way.stays],
    ids=lambda typed: typed.ours,
)
def test_commands_that_serve_are_started_asked_and_stopped(
    typed: Typed, typist: Typist, server: Loopback, worked_in: Path
) -> None:
    human = "--human" in typed.ours
    port = free_port()
    line = spoken(typed.ours, server).replace("--host 0.0.0.0", "--host 127.0.0.1") + f" --port {port}"
    if " serve" not in line:
        line += " --no-open"
    pid = typist.start(line, worked_in)
    try:
        path = "/" if human or " ui" in line else "/health"
        assert answer(port, path) < 500, typist.said()
    finally:
        ended = typist.stop(pid)
    assert ended.code in {0, 130}, ended.stderr
    assert "Traceback" not in ended.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def answer(port: int, path: str) -> int:
    """The status that a server answers with, once it is up."""
    until = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionRefusedError:
            assert time.monotonic() < until, "it did not come up"
            time.sleep(0.05)
        finally:
            connection.close()


@pytest.mark.model
def test_the_embedded_model_recycles_as_the_readme_begins(typist: Typist, tmp_path: Path) -> None:
    command = "reflectune recycle data.json"
    assert command in IN_TURN
    world.write(tmp_path / "data.json", world.ROWS[:1])
    ended = typist.type(command, tmp_path)
    assert ended.code in {0, 3}, ended.stderr  # 3: weights as few as these may fail the only row
    assert (tmp_path / "runs/data/recycled.jsonl").is_file()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    proofs = re.search(r"^PROOFS := ((?:.*\\\n)*.*)", makefile, re.MULTILINE)
    assert proofs
    targets = {*re.findall(r"^([\w-]+):", makefile, re.MULTILINE), *(f"proof-{name}" for name in proofs[1].split())}
    named = {typed.line.split()[1] for typed in COMMANDS if typed.line.startswith("make ")}
    named |= {name for page in PAGES for name in re.findall(r"`make ([\w-]+)`", page.read_text(encoding="utf-8"))}
    assert {"demo", "test", "check"} <= named
    assert named <= targets


def test_what_is_installed_is_there_to_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [path.read_text(encoding="utf-8") for path in (*PAGES, *(ROOT / "src").rglob("*.py"))]
    named = [name for text in texts for name in re.findall(r"(?:reflectune|'\.)\[([\w,-]+)\]'", text)]
    extras = {extra for name in named for extra in name.split(",")}
    assert "local" in extras
    assert extras <= set(project["optional-dependencies"])


def test_scripts_that_are_named_are_there() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"\b((?:examples|bench|docs|tests)/\w+\.\w+)", page.read_text("utf-8"))
    }
    assert "examples/recycle.py" in named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_launchers_take_their_own_words() -> None:
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    launched = [shlex.split(typed.line) for typed in COMMANDS if typed.line.startswith(("torchrun", "accelerate"))]
    assert launched
    for words in launched:
        if words[0] == "torchrun":
            found = get_args_parser().parse_args(words[1:])
        else:
            line = re.sub(r"\$\([^)]*\)", "config.yaml", shlex.join(words).replace("'", ""))
            found = launch_command_parser().parse_args(shlex.split(line)[2:])
        assert found.module, words
        assert found.training_script == "reflectune", words


@pytest.mark.model
def test_the_python_of_the_readme_runs(little_embedded: dict[str, str], tmp_path: Path) -> None:
    (program,) = fenced(ROOT / "README.md", "python")
    done = run_python(["-c", program], tmp_path, little_embedded)
    assert done.startswith(("instruction=", "id="))


@pytest.mark.model
def test_the_example_script_runs(little_embedded: dict[str, str], tmp_path: Path) -> None:
    done = run_python([str(ROOT / "examples" / "recycle.py")], tmp_path, little_embedded)
    assert {line.split(":")[0] for line in done.splitlines() if re.match(r"\w+: ", line)} >= {"rainbow", "desk"}


def run_python(words: list[str], folder: Path, variables: dict[str, str]) -> str:
    """What a program of the documentation prints, with a little embedded model."""
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env=os.environ | variables,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_our_own_pairs_are_what_the_readme_says() -> None:
    from reflectune import open_source
    from reflectune.language import prompt_language

    rows = list(open_source(ROOT / "examples" / "pairs.jsonl").rows())
    examples = [row.example for row in rows if row.example]
    assert len(examples) == len(rows) == 10
    assert sum(prompt_language(example.question) == "zh" for example in examples) == 2
    assert any(example.input for example in examples)
    assert any(example.history for example in examples)


def test_every_file_of_the_readmes_tree_is_there() -> None:
    (tree,) = [body for body in fenced(ROOT / "README.md", "text") if "src/reflectune/" in body]
    named = set(re.findall(r"\b(\w+(?:\.py|/))", tree)) - {"reflectune/"}
    package = ROOT / "src" / "reflectune"
    existing = {
        path.name + ("/" if path.is_dir() else "")
        for path in [*package.rglob("*"), *(ROOT / "tests").iterdir(), *(ROOT / "bench").iterdir(), *ROOT.iterdir()]
    }
    assert named <= existing, named - existing
    top = {
        path.name + ("/" if path.is_dir() else "")
        for path in package.iterdir()
        if not path.name.startswith(("__", "py."))
    }
    assert top <= named, f"the README's tree lacks {top - named}"


def test_the_command_line_page_is_what_help_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
