"""A store for talk: nothing is kept, so that memory stays flat however long it goes on."""

from __future__ import annotations

from reflectune.records import Reply, Request

__all__ = ["Forgetful"]


class Forgetful:
    """A `Store` that keeps nothing: who asks again gets another reply."""

    def reply(self, key: str) -> Reply | None:  # noqa: ARG002
        """Nothing."""
        return None

    async def keep_reply(self, key: str, request: Request, oracle: str, reply: Reply) -> None:
        """Do nothing."""

    def result(self, stage: str, row: str, fingerprint: str) -> bytes | None:  # noqa: ARG002
        """Nothing."""
        return None

    async def keep_result(self, stage: str, row: str, fingerprint: str, body: bytes, failed: str | None) -> None:
        """Do nothing."""
