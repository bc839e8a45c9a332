"""Make instruction data better by reflection, and keep every critique and every failure."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reflectune.chooser import StudentChooser as StudentChooser
    from reflectune.embedding import Embedder as Embedder
    from reflectune.errors import InputError as InputError
    from reflectune.errors import MissingExtraError as MissingExtraError
    from reflectune.errors import OracleError as OracleError
    from reflectune.errors import ReflectuneError as ReflectuneError
    from reflectune.errors import RunError as RunError
    from reflectune.errors import SettingsError as SettingsError
    from reflectune.evaluate import Statistics as Statistics
    from reflectune.evaluate import compare as compare
    from reflectune.evaluate import stats as stats
    from reflectune.evaluate.alpaca_eval import length_controlled as length_controlled
    from reflectune.evaluate.alpaca_eval import win_rate as win_rate
    from reflectune.evaluate.judge import Pair as Pair
    from reflectune.evaluate.judge import Verdict as Verdict
    from reflectune.evaluate.judge import judge as judge
    from reflectune.evaluate.scores import Evaluation as Evaluation
    from reflectune.evaluate.scores import Score as Score
    from reflectune.formats import convert as convert
    from reflectune.formats import open_source as open_source
    from reflectune.formats import write_rows as write_rows
    from reflectune.generation import Prompt as Prompt
    from reflectune.generation import generate as generate
    from reflectune.generation import open_model as open_model
    from reflectune.inference import Answered as Answered
    from reflectune.inference import Conversation as Conversation
    from reflectune.inference import Part as Part
    from reflectune.inference import answer as answer
    from reflectune.oracles import Oracle as Oracle
    from reflectune.oracles.engine import Engine as Engine
    from reflectune.oracles.naming import open_oracle as open_oracle
    from reflectune.pipeline import Journey as Journey
    from reflectune.pipeline import run as run
    from reflectune.pipeline.shipped import read_recipe as read_recipe
    from reflectune.recipe import AlpacaEvalSettings as AlpacaEvalSettings
    from reflectune.recipe import BenchmarkSettings as BenchmarkSettings
    from reflectune.recipe import ChatSettings as ChatSettings
    from reflectune.recipe import GenerateSettings as GenerateSettings
    from reflectune.recipe import JudgeSettings as JudgeSettings
    from reflectune.recipe import PipelineRecipe as PipelineRecipe
    from reflectune.recipe import Recipe as Recipe
    from reflectune.recipe import RecycleSettings as RecycleSettings
    from reflectune.recipe import ScoreSettings as ScoreSettings
    from reflectune.recipe import SelectSettings as SelectSettings
    from reflectune.recipe import TraceSettings as TraceSettings
    from reflectune.recipe import TrainSettings as TrainSettings
    from reflectune.records import Example as Example
    from reflectune.records import Failure as Failure
    from reflectune.records import Message as Message
    from reflectune.records import Recycled as Recycled
    from reflectune.records import Remark as Remark
    from reflectune.records import Reply as Reply
    from reflectune.records import Request as Request
    from reflectune.records import Rewrite as Rewrite
    from reflectune.records import Sampling as Sampling
    from reflectune.records import Scored as Scored
    from reflectune.records import Version as Version
    from reflectune.records import VersionScores as VersionScores
    from reflectune.recycling import recycle as recycle
    from reflectune.report import write_report as write_report
    from reflectune.runs import RunDir as RunDir
    from reflectune.scoring import Scorer as Scorer
    from reflectune.scoring import Scores as Scores
    from reflectune.scoring import Versions as Versions
    from reflectune.scoring import score as score
    from reflectune.selection import Candidate as Candidate
    from reflectune.selection import Selection as Selection
    from reflectune.selection import select as select
    from reflectune.student import open_student as open_student
    from reflectune.tags import parse as parse
    from reflectune.testing import MemoryStore as MemoryStore
    from reflectune.testing import ScriptedOracle as ScriptedOracle
    from reflectune.traces import Questions as Questions
    from reflectune.traces import Trace as Trace
    from reflectune.traces import ask_traces as ask_traces
    from reflectune.traces import plant_traces as plant_traces
    from reflectune.training.stage import train as train
    from reflectune.verdict import write_verdict as write_verdict

_HOMES = {
    "AlpacaEvalSettings": "recipe",
    "Answered": "inference",
    "BenchmarkSettings": "recipe",
    "Candidate": "selection",
    "ChatSettings": "recipe",
    "Conversation": "inference",
    "Embedder": "embedding",
    "Engine": "oracles.engine",
    "Evaluation": "evaluate.scores",
    "Example": "records",
    "Failure": "records",
    "GenerateSettings": "recipe",
    "InputError": "errors",
    "Journey": "pipeline",
    "JudgeSettings": "recipe",
    "MemoryStore": "testing",
    "Message": "records",
    "MissingExtraError": "errors",
    "Oracle": "oracles",
    "OracleError": "errors",
    "Pair": "evaluate.judge",
    "Part": "inference",
    "PipelineRecipe": "recipe",
    "Prompt": "generation",
    "Questions": "traces",
    "Recipe": "recipe",
    "RecycleSettings": "recipe",
    "Recycled": "records",
    "ReflectuneError": "errors",
    "Remark": "records",
    "Reply": "records",
    "Request": "records",
    "Rewrite": "records",
    "RunDir": "runs",
    "RunError": "errors",
    "Sampling": "records",
    "Score": "evaluate.scores",
    "ScoreSettings": "recipe",
    "Scored": "records",
    "Scorer": "scoring",
    "Scores": "scoring",
    "ScriptedOracle": "testing",
    "SelectSettings": "recipe",
    "Selection": "selection",
    "SettingsError": "errors",
    "Statistics": "evaluate",
    "StudentChooser": "chooser",
    "Trace": "traces",
    "TraceSettings": "recipe",
    "TrainSettings": "recipe",
    "Verdict": "evaluate.judge",
    "Version": "records",
    "VersionScores": "records",
    "Versions": "scoring",
    "answer": "inference",
    "ask_traces": "traces",
    "compare": "evaluate",
    "convert": "formats",
    "generate": "generation",
    "judge": "evaluate.judge",
    "length_controlled": "evaluate.alpaca_eval",
    "open_model": "generation",
    "open_oracle": "oracles.naming",
    "open_source": "formats",
    "open_student": "student",
    "parse": "tags",
    "plant_traces": "traces",
    "read_recipe": "pipeline.shipped",
    "recycle": "recycling",
    "run": "pipeline",
    "score": "scoring",
    "select": "selection",
    "stats": "evaluate",
    "train": "training.stage",
    "win_rate": "evaluate.alpaca_eval",
    "write_report": "report",
    "write_rows": "formats",
    "write_verdict": "verdict",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - a list, though not a literal one


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
