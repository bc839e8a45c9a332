"""The errors that reflectune raises, one family.

    ReflectuneError
    ├── InputError            a data file: names the file, the row and the mend
    ├── SettingsError         a flag, recipe or prompt file that cannot be used
    ├── MissingExtraError     an optional dependency is not installed: names the command
    ├── RunError              a run folder that cannot be opened or written
    └── OracleError           an oracle cannot be used at all: key, model, address
        ├── RequestRefused    the oracle will never answer this one request (too long, blocked)
        └── OracleBusy        try again later: rate limit, overload, time-out, lost connection

`RequestRefused` fails one record, `OracleBusy` slows the pace, every other error stops the run.
"""

from __future__ import annotations


class ReflectuneError(Exception):
    """The root: what went wrong, and the mend.

    Args:
        what: One sentence that names the thing at fault.
        mend: What the reader can do about it.
    """

    def __init__(self, what: str, *, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.what}\n{self.mend}" if self.mend else self.what


class InputError(ReflectuneError):
    """A data file cannot be read as instruction data."""


class SettingsError(ReflectuneError):
    """A flag, a recipe or a prompt file cannot be used."""


class MissingExtraError(ReflectuneError):
    """An optional dependency is not installed."""


class RunError(ReflectuneError):
    """A run folder cannot be opened, locked or written."""


class OracleError(ReflectuneError):
    """An oracle cannot be used at all: wrong key, unknown model, no such address."""


class RequestRefused(OracleError):  # noqa: N818 - a refusal, not a fault of the program
    """The oracle will never answer this request.

    Args:
        what: What the oracle said.
        reason: The failure's reason, such as `context-overflow` or `content-filter`.
        mend: What the reader can do about it.
    """

    def __init__(self, what: str, *, reason: str, mend: str = "") -> None:
        super().__init__(what, mend=mend)
        self.reason = reason


class OracleBusy(OracleError):  # noqa: N818 - a state that passes
    """The oracle cannot answer now but may later.

    Args:
        what: What the oracle said.
        reason: Why, such as `rate-limit`, `server-error`, `timeout` or `connection`.
        retry_after: Seconds that the oracle asked us to wait, where it said so.
        mend: What the reader can do about it.
    """

    def __init__(self, what: str, *, reason: str, retry_after: float | None = None, mend: str = "") -> None:
        super().__init__(what, mend=mend)
        self.reason = reason
        self.retry_after = retry_after
