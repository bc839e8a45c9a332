"""Schemas that clients bring: what an endpoint says of one of them is not held against the others."""

from __future__ import annotations

from reflectune.oracles import Oracle
from reflectune.oracles.api import ApiOracle
from reflectune.records import Schema

__all__ = ["BySchema"]

_MOST = 64


class BySchema:
    """A model as the requests with each schema see it.

    An endpoint that refuses a schema is asked in another way from then on. Among schemas of strangers it may refuse one
    for what is wrong with that alone.

    Args:
        oracle: The model.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._known: dict[str, ApiOracle] = {}

    def oracle(self, schema: Schema | None) -> Oracle:
        """The model for a request; of an endpoint one that shares its connections, and finds out for itself."""
        if schema is None or not isinstance(self._oracle, ApiOracle):
            return self._oracle
        twin = self._known.pop(schema.mark, None)
        if twin is None:
            twin = ApiOracle(self._oracle.settings, self._oracle.capabilities)
            twin.wire = self._oracle.wire
            if len(self._known) >= _MOST:
                self._known.pop(next(iter(self._known)))
        self._known[schema.mark] = twin  # last, as it was used last
        return twin
