"""A student, to be opened where rows are scored or versions chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reflectune.cluster.places import whole, whole_prompts
from reflectune.oracles.naming import Address
from reflectune.recipe import ScoreSettings
from reflectune.student import Student, is_served, open_student
from reflectune.student.templates import TEMPLATES

__all__ = ["Pupil"]


@dataclass(frozen=True, slots=True)
class Pupil:
    """A student, to be opened in another process.

    Attributes:
        settings: Which student, and how it scores, files and folders by their whole paths; but the tokenizer as it was
            named, since that is written beside scores.
        address: Where the endpoint of a served student is.
        tokenizer: Where a served student's tokenizer is.
    """

    settings: ScoreSettings
    address: Address
    tokenizer: str | None = None

    @classmethod
    def of(cls, settings: ScoreSettings, address: Address, dtype: str = "") -> Pupil:
        """The student of some settings, whose paths start from this process's working folder.

        Args:
            settings: Which student, and how it scores.
            address: Where a served one is.
            dtype: The numbers that it computes with where it was opened first, so that it does so elsewhere.
        """
        student, template, tokenizer = settings.student, settings.template, settings.tokenizer
        if tokenizer is None and is_served(student) and Path(model := student.partition("@")[0]).is_dir():
            tokenizer = model
        update = {
            "student": whole(student),
            "template": template if template in TEMPLATES else template and whole(template),
            "dtype": settings.dtype or dtype or None,
        }
        settings = whole_prompts(settings.model_copy(update=update))
        return cls(settings, address, tokenizer and whole(tokenizer))

    def open(self) -> Student:
        """Load it in this process.

        Raises:
            ReflectuneError: It cannot be used.
        """
        return open_student(self.settings.model_copy(update={"tokenizer": self.tokenizer}), self.address)

    @property
    def inside(self) -> bool:
        """Whether it computes in the process that opens it: it is no server."""
        return not is_served(self.settings.student)

    @property
    def wants_gpu(self) -> bool:
        """Whether it takes a GPU where there is one."""
        return self.inside and (self.settings.device or "").partition(":")[0] != "cpu"
