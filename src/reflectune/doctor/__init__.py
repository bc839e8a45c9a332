"""Look at what a machine has for reflectune: packages, keys, an endpoint, GPUs, a place for runs.

Each look is a small function that returns a `Finding`, with the mend where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from reflectune.doctor.finding import Finding, Section, State

__all__ = ["Asked", "Finding", "Section", "State", "examine"]

_KEYS = ("OPENAI_API_KEY", "HF_TOKEN")


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at.

    Attributes:
        runs: Where runs are kept.
        base_url: The endpoint; else OPENAI_BASE_URL names it, else none is asked.
        key_env: The variable that holds its key.
        offline: Whether nothing is asked over the network.
    """

    runs: Path = Path("runs")
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    offline: bool = False


def examine(asked: Asked) -> Iterator[Section]:
    """Look at everything, one section after the other."""
    from reflectune.doctor import disk, endpoint, engines, keys, machine, packages

    own = distribution("reflectune")
    yield Section(title="base", findings=(*packages.base_of(own), disk.room(asked.runs), disk.database(asked.runs)))
    yield Section(title="extras", findings=tuple(packages.extras_of(own)))
    yield Section(
        title="models",
        findings=(
            engines.runtime(),
            packages.embedded_weights(),
            engines.other("vllm", "a server of it, on any machine, does as well", "pip install vllm"),
            engines.sandbox(),
        ),
    )
    yield Section(title="machine", findings=(machine.processors(), machine.memory(), machine.gpu()))
    yield Section(
        title="network",
        findings=(
            *keys.keys((*_KEYS, asked.key_env)),
            keys.proxies(),
            keys.authorities(),
            endpoint.endpoint(asked.base_url, asked.key_env, offline=asked.offline),
        ),
    )
