"""Recipes: what a run was asked to do, one small frozen model per stage.

The flags of a command are the fields of its stage's model. A recipe is saved as YAML in the run's folder, so that the
run can be looked at, repeated and resumed.

base.py                        what all settings share: unknown keys are errors, YAML, `key=value` assignments
recycle.py, score.py, select.py, traces.py, train.py, generate.py, judge.py, alpaca_eval.py, benchmark.py and chat.py
                               one each
run.py                         the recipe of a run, which holds those of its stages
pipeline.py                    the recipe of a whole journey
"""

from reflectune.recipe.alpaca_eval import AlpacaEvalSettings
from reflectune.recipe.base import Settings, Shape, overridden
from reflectune.recipe.benchmark import BenchmarkSettings
from reflectune.recipe.chat import ChatSettings
from reflectune.recipe.generate import GenerateSettings
from reflectune.recipe.judge import JudgeSettings
from reflectune.recipe.pipeline import Arm, Model, PipelineRecipe
from reflectune.recipe.recycle import RecycleSettings
from reflectune.recipe.run import Recipe, StageName, in_order, shard_of
from reflectune.recipe.score import ScoreSettings
from reflectune.recipe.select import SelectSettings
from reflectune.recipe.traces import TraceSettings
from reflectune.recipe.train import TrainSettings

__all__ = [
    "AlpacaEvalSettings",
    "Arm",
    "BenchmarkSettings",
    "ChatSettings",
    "GenerateSettings",
    "JudgeSettings",
    "Model",
    "PipelineRecipe",
    "Recipe",
    "RecycleSettings",
    "ScoreSettings",
    "SelectSettings",
    "Settings",
    "Shape",
    "StageName",
    "TraceSettings",
    "TrainSettings",
    "in_order",
    "overridden",
    "shard_of",
]
