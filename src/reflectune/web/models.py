"""The models of the playground: each is opened when it is first asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastapi import HTTPException

from reflectune.errors import ReflectuneError
from reflectune.generation import open_model
from reflectune.generation.naming import model_name
from reflectune.oracles.naming import Address
from reflectune.web.api import Service

__all__ = ["Models"]


@dataclass(slots=True)
class Models:
    """The models that a person may talk to.

    Attributes:
        names: What they are called on the command line.
        address: Where endpoints are, and how they are reached.
    """

    names: Sequence[str]
    address: Address = field(default_factory=Address)
    _open: dict[int, Service] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def shown(self) -> list[str]:
        """What people call them; of two that are called alike, as on the command line."""
        short = [model_name(name) for name in self.names]
        return [one if short.count(one) == 1 else name for name, one in zip(self.names, short, strict=True)]

    async def service(self, place: int) -> Service:
        """What answers for a model.

        Args:
            place: Which.

        Raises:
            HTTPException: 404: there is no such model; 503: it cannot be opened, with the reason and the mend.
        """
        if not 0 <= place < len(self.names):
            raise HTTPException(404, "There is no such model.")
        async with self._opening:
            if place not in self._open:
                try:
                    oracle = await asyncio.to_thread(open_model, self.names[place], self.address)
                except ReflectuneError as error:
                    raise HTTPException(503, f"{error.what} {error.mend}".strip()) from error
                self._open[place] = Service(oracle, self.shown[place])
            return self._open[place]

    async def aclose(self) -> None:
        """Free what they hold."""
        for service in self._open.values():
            service.end()
            service.cut()
            await service.aclose()
        self._open.clear()
