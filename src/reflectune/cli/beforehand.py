"""What would stop a later stage of a journey, found out before the first: hours and dollars lie between them."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import dropwhile
from pathlib import Path

from reflectune.cli.most import price_for
from reflectune.cli.train_asked import check_trackers, with_devices
from reflectune.errors import InputError, MissingExtraError, ReflectuneError, SettingsError
from reflectune.formats import open_source
from reflectune.generation.naming import is_folder
from reflectune.generation.prompts import read_prompts
from reflectune.oracles.naming import Address, settings_of
from reflectune.oracles.prices import read_prices
from reflectune.oracles.weights import embedded_source, find_weights
from reflectune.pipeline import Journey
from reflectune.pipeline.fingerprints import Fingerprints
from reflectune.pipeline.plan import Stage
from reflectune.prompts import Prompts
from reflectune.recipe import PipelineRecipe, Recipe
from reflectune.recipe.pipeline import Model
from reflectune.student.chat_text import LLAMA
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.templates import CHAT, open_template
from reflectune.training.course import check_launch

__all__ = ["check_beforehand", "up_to"]

_STUDENT = (("torch", "score"), ("transformers", "score"))
_FIGURES = (("numpy", "eval"), ("scipy", "eval"))
_NEEDS: dict[str, tuple[tuple[str, str], ...]] = {
    "gates": (("rensa", "quality"),),
    "score": _STUDENT,
    "arms": _STUDENT,
    "train": (("torch", "train"), ("transformers", "train"), ("datasets", "train"), ("trl", "train")),
    "generate": _STUDENT,
    "judge": _FIGURES,
    "benchmark": (("lm_eval", "eval"), *_FIGURES, *_STUDENT),
    "verdict": _FIGURES,
}
"""The modules that each command cannot do without, and the extras that bring them."""
_EMBEDDED = (("xllamacpp", "local"),)
_ON_A_CLUSTER = {"recycle", "score", "generate", "judge"}
_NO_PROGRAM = "Activate the environment that has it, install it, or name it with its path."
_HAVE_TEMPLATES = ("chat_template.jinja", "chat_template.json", "chat_templates")


def check_beforehand(journey: Journey, until: str | None, *, dry_run: bool) -> None:
    """Find out now what would stop a later stage.

    Args:
        journey: Its recipe, its plan and what has come of it.
        until: The last stage that is to be done.
        dry_run: Whether it is only planned: what a machine has to have, and keys, are for the one that does it.

    Raises:
        InputError: The data or a test set cannot be read.
        MissingExtraError: A package that is needed is not installed.
        SettingsError: A file is not there, a model cannot be asked, or training needs a GPU and there is none.
    """
    recipe, stages = journey.recipe, up_to(journey, until)
    kinds = {stage.kind for stage in stages}
    _check_files(recipe, kinds)
    _check_template(recipe, kinds)
    if dry_run:
        return
    left = _left(journey, stages)
    kinds = {stage.kind for stage in left}
    for what, model in _asked(recipe, left):
        _check_model(what, model, recipe)
    _check_modules(list(_modules(recipe, left)))
    if "train" in kinds:
        check_trackers(recipe.train)
        _check_devices(recipe)


def _check_modules(needed: list[tuple[str, str]]) -> None:
    """Name everything that is missing at once, and one command that installs it."""
    missing = dict(entry for entry in needed if find_spec(entry[0]) is None)
    if not missing:
        return
    extras = sorted({extra for extra in missing.values() if extra})
    packages = [module for module, extra in missing.items() if not extra]
    words = [*([f"'reflectune[{','.join(extras)}]'"] if extras else []), *packages]
    are = "which is not installed" if len(missing) == 1 else "which are not installed"
    raise MissingExtraError(f"A later stage needs {', '.join(missing)}, {are}.", mend=f"pip install {' '.join(words)}")


def up_to(journey: Journey, until: str | None) -> tuple[Stage, ...]:
    """The stages that are to be done, done before or not."""
    if until is None:
        return journey.stages
    places = [place for place, stage in enumerate(journey.stages) if until in {stage.key, stage.kind}]
    return journey.stages[: places[-1] + 1]


def _left(journey: Journey, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """The stages from the first that is not done: it may change what the others depend on."""
    prints = Fingerprints(journey.state.files)

    def done(stage: Stage) -> bool:
        return journey.standing(stage, journey.fingerprint(stage, prints)) == "done"

    left = tuple(dropwhile(done, stages))
    journey.state = journey.state.model_copy(update={"files": prints.known})
    return left


def _check_files(recipe: PipelineRecipe, kinds: set[str]) -> None:
    """Look for every file and folder that the settings of these commands name."""
    _check_prompts(recipe)
    if Path(recipe.data).suffix and not Path(recipe.data).exists():
        open_source(recipe.data)
    if recipe.prices is not None:
        read_prices(recipe.prices)
    sections = {
        "recycle": recipe.recycle,
        "traces": recipe.traces,
        "score": recipe.score,
        "judge": recipe.judging,
        "benchmark": recipe.benchmark,
    }
    for kind, section in sections.items():
        if kind in kinds and section is not None:
            Prompts(section.prompts)
    if "score" in kinds and recipe.score is not None:
        _check_text(recipe.score.template)
    if "train" in kinds:
        _check_text(recipe.train.template)
        with_devices(recipe.train)
        if recipe.train.held_out_data is not None:
            open_source(recipe.train.held_out_data)
    if "benchmark" in kinds and recipe.benchmark and recipe.benchmark.data and not recipe.benchmark.data.is_dir():
        raise SettingsError(f"There is no folder {recipe.benchmark.data}.", mend="Mend benchmark.data.")


def _check_prompts(recipe: PipelineRecipe) -> None:
    """Read every test set."""
    for file in recipe.prompts:
        try:
            read_prompts(file, recipe.prompts_limit)
        except InputError as error:
            raise InputError(
                f"prompts: {error.what}",
                mend='Name files of prompts for the students, one {"instruction": "..."} a line; or none, to train'
                " and not to compare: --set prompts=[]",
            ) from error


def _check_text(template: str | None) -> None:
    """Look for a template that is a file."""
    if template in {None, CHAT} or (Path(str(template)).suffix == ".jinja" and Path(str(template)).is_file()):
        return
    if template != LLAMA:
        open_template(template, None, others=(LLAMA,))


def _check_template(recipe: PipelineRecipe, kinds: set[str]) -> None:
    """Where the student is a folder: whether it says how it is asked, if somebody is to ask it or to train it so."""
    folder = Path(recipe.student).expanduser()
    if not is_folder(str(folder)) or not folder.is_dir() or _has_template(folder):
        return
    told = f"The tokenizer of {recipe.student} has no chat template"
    if "train" in kinds and recipe.train.template in {None, CHAT}:
        raise SettingsError(f"{told}.", mend="Say which it is to learn: train.template: vicuna, alpaca or a file.")
    written = "benchmark" in kinds and recipe.benchmark is not None and recipe.benchmark.form == "generative"
    if ("base" in recipe.arms and "generate" in kinds and recipe.prompts) or (
        written and ("base" in recipe.arms or recipe.traces is not None)
    ):
        raise SettingsError(
            f"{told}, so that nobody knows how it is asked before it is trained.",
            mend="Leave base out of the arms, or write its template into chat_template.jinja.",
        )


def _has_template(folder: Path) -> bool:
    if any((folder / name).exists() for name in _HAVE_TEMPLATES):
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return True  # who knows: what reads it will tell


def _asked(recipe: PipelineRecipe, stages: tuple[Stage, ...]) -> Iterator[tuple[str, Model]]:
    """The models that are asked besides the students, and what they are."""
    if any(stage.asks is not None for stage in stages if stage.kind in {"recycle", "traces"}):
        yield "oracle", recipe.oracle
    if any(stage.kind == "judge" for stage in stages):
        yield "judge", recipe.judge


def _check_model(what: str, model: Model, recipe: PipelineRecipe) -> None:
    """Whether a model can be asked, as far as that can be told without asking it."""
    if is_folder(model.name):
        return
    try:
        if _embedded(model.name):
            _check_weights(model.name)
        else:
            settings_of(model.name, Address(model.base_url, model.key_env))
    except ReflectuneError as error:
        mend = error.mend.replace("--key-env", "key_env")  # what commands call by a flag
        raise type(error)(f"{what}: {error.what}", mend=mend) from error
    asked = Recipe(data=recipe.data, oracle=model.name, base_url=model.base_url, prices=recipe.prices)
    if recipe.budget is not None and price_for(asked) is None:
        raise SettingsError(
            f"{what}: the price of {model.name} is unknown, so that the budget cannot be kept to.",
            mend="State it in a file and name that as `prices`, with a line such as"
            f" `{model.name.partition('@')[0]}: {{input: 0.15, output: 0.60}}` (US dollars for a million tokens).",
        )


def _check_weights(name: str) -> None:
    if name == "local":
        embedded_source()
    elif name.endswith(".gguf"):
        find_weights(name)


def _embedded(name: str) -> bool:
    return name == "local" or name.startswith("local:")


def _modules(recipe: PipelineRecipe, stages: tuple[Stage, ...]) -> Iterator[tuple[str, str]]:
    """The modules that these stages need, and the extras that bring them; none where it is a package of its own."""
    kinds = {stage.kind for stage in stages}
    for kind in kinds:
        yield from _NEEDS.get(kind, ())
    if any(_embedded(stage.asks or "") for stage in stages):
        yield from _EMBEDDED
    if "recycle" in kinds and recipe.recycle.versions == "chosen":
        yield from _STUDENT
    if ("stats" in kinds and recipe.coherence) or (
        "select" in kinds and recipe.select is not None and recipe.select.rule in {"coherence", "diverse"}
    ):
        yield "sentence_transformers", "stats"
    if "train" in kinds and recipe.train.method != "full":
        yield "peft", "train"
    if "train" in kinds and recipe.train.quantised:
        yield "bitsandbytes", "qlora"
    if "train" in kinds and recipe.train.deepspeed is not None:
        yield "deepspeed", ""
    if recipe.engine == "ray" and kinds & _ON_A_CLUSTER:
        yield "ray", "ray"


def _check_devices(recipe: PipelineRecipe) -> None:
    if recipe.launch is not None:
        program = shlex.split(recipe.launch)[0]
        if shutil.which(program) is None:
            raise SettingsError(f"launch: there is no program {program}.", mend=_NO_PROGRAM)
        return
    if len(list(Path("/dev").glob("nvidia[0-9]*"))) > 1:
        check_launch()
    if recipe.train.needs_gpu and not _has_gpu():
        raise SettingsError(
            "The students are to be trained on a GPU, and this machine has none.",
            mend="Go as far as the data with --until arms, or train here all the same: --set train.needs_gpu=false.",
        )


def _has_gpu() -> bool:
    torch, _ = torch_and_transformers()
    return bool(torch.cuda.is_available())
