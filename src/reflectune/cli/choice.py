"""The student that chooses what is recycled, where a recipe says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reflectune.chooser import StudentChooser
from reflectune.cli.job import address_of
from reflectune.errors import SettingsError
from reflectune.recipe import Recipe
from reflectune.student import open_student


@contextmanager
def chooser_of(recipe: Recipe) -> Iterator[StudentChooser | None]:
    """The student as a chooser, as long as it is needed; `None` where nothing is to be chosen.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        OracleError: The student cannot be loaded.
        SettingsError: There is to be a choice, and no student is named.
    """
    if recipe.recycle.versions != "chosen":
        yield None
        return
    if recipe.chooser is None:
        raise SettingsError(
            "--versions chosen needs a student that chooses.", mend="Name it: --student FOLDER, a hub id, or local."
        )
    student = open_student(recipe.chooser, address_of(recipe))
    try:
        yield StudentChooser(student, recipe.chooser)
    finally:
        student.close()
