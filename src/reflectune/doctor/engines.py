"""Whether what runs beside Python works: the embedded runtime, the sandbox, Ray, vLLM."""

from __future__ import annotations

from reflectune.doctor.finding import Finding
from reflectune.doctor.packages import version_of
from reflectune.errors import MissingExtraError, ReflectuneError

__all__ = ["other", "runtime", "sandbox"]


def runtime() -> Finding:
    """The runtime of the embedded model: it is loaded, which is where a missing libgomp shows itself."""
    from reflectune.oracles.local import load_runtime

    name = "embedded runtime"
    try:
        load_runtime()
    except MissingExtraError as error:
        return Finding(name=name, state="without", told="xllamacpp is not installed", mend=error.mend)
    except ReflectuneError as error:
        return Finding(name=name, state="broken", told=error.what, mend=error.mend)
    return Finding(name=name, state="good", told=f"xllamacpp {version_of('xllamacpp')} loads")


def sandbox() -> Finding:
    """The sandbox that code written by models runs in; a program is run in it."""
    from reflectune.evaluate.benchmarks.code.sandbox import check_sandbox

    try:
        check_sandbox()
    except ReflectuneError as error:
        return Finding(name="sandbox", state="without", told=error.what, mend=error.mend)
    return Finding(name="sandbox", state="good", told="bubblewrap runs a program and keeps it in")


def other(package: str, use: str, mend: str) -> Finding:
    """A package that only some ways to work need; it is not imported."""
    version = version_of(package)
    if version:
        return Finding(name=package, state="good", told=version)
    return Finding(name=package, state="without", told=f"not installed; {use}", mend=mend)
