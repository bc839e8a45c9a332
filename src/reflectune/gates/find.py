"""Send candidates through the gates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from reflectune.errors import SettingsError
from reflectune.gates.contamination import Contamination
from reflectune.gates.drift import Drift
from reflectune.gates.duplicate import Duplicate
from reflectune.gates.length import Length
from reflectune.gates.marks import GATES, Candidate, Gate, GateName, GateSettings, Mark


def find_marks(
    candidates: Iterable[Candidate],
    settings: GateSettings | None = None,
    *,
    gates: Collection[GateName] = GATES,
    against: Sequence[str | Path] = (),
) -> Iterator[Mark]:
    """Mark rewrites that should not stay unseen. Each candidate is looked at once and then let go of.

    A row may get several marks, of several gates or for both of its halves. Outliers in length are told at the end.

    Args:
        candidates: The rewritten rows, in order.
        settings: When a row is marked.
        gates: Which gates to use. Contamination is looked for only where `against` names something.
        against: Evaluation sets: files, folders of files, or data sets of the hub; read at once, before any candidate.

    Returns:
        The marks, as they are found.

    Raises:
        InputError: An evaluation set cannot be read.
        MissingExtraError: Near duplicates are asked for and the extra `quality` is not installed.
        SettingsError: There is no such gate.
    """
    unknown = set(gates) - set(GATES)
    if unknown:
        raise SettingsError(f"There is no gate {min(unknown)!r}.", mend=f"The gates are {', '.join(GATES)}.")
    settings = settings or GateSettings()
    chosen: list[Gate] = []
    if "duplicate" in gates:
        chosen.append(Duplicate(settings))
    if "contamination" in gates and against:
        chosen.append(Contamination(settings, against))
    if "drift" in gates:
        chosen.append(Drift())
    if "length" in gates:
        chosen.append(Length(settings))
    return _look(candidates, chosen)


def _look(candidates: Iterable[Candidate], gates: Sequence[Gate]) -> Iterator[Mark]:
    for candidate in candidates:
        for gate in gates:
            yield from gate.look(candidate)
    for gate in gates:
        yield from gate.conclude()
