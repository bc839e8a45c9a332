"""What a person is told when a command has ended."""

from __future__ import annotations

import shlex

from rich.table import Table
from rich.text import Text

from reflectune.cli.changes import Change, Changes
from reflectune.cli.difference import both, difference
from reflectune.cli.job import Job, Outcome
from reflectune.cli.money import Projection, dollars
from reflectune.cli.screen import err
from reflectune.records import Recycled, Version


def show_outcome(job: Job, outcome: Outcome) -> None:
    """Show what changed, three rows before and after, where the files are and what to do next."""
    if job.quiet:
        return
    counts = outcome.counts
    if counts.done:
        err.print(_table(outcome.changes), "")
        for recycled in outcome.changes.examples:
            _show_row(recycled)
    err.print(
        f"{counts.rows:,} rows: {counts.done:,} rewritten, {counts.failed:,} failed, {counts.pending:,} pending"
        f" · {outcome.usage.requests:,} requests, {outcome.usage.cached:,} from the store"
        f" · {_cost(outcome.cost)} · {outcome.seconds:.1f} s"
    )
    for reason, count in sorted(counts.reasons.items(), key=lambda item: -item[1]):
        err.print(f"  {count:>6,} {reason}")
    if outcome.projection:
        show_projection(outcome.projection)
    _show_next(job, outcome)


def show_projection(projection: Projection) -> None:
    """Show what the rest of a run will take."""
    err.print(f"The other {projection.rows:,} rows, going by {projection.measured:,} rows:", style="bold")
    err.print(f"  requests         about {projection.requests:,.0f}")
    err.print(f"  tokens sent      {projection.prompt_tokens.tokens()}")
    err.print(f"  tokens received  {projection.completion_tokens.tokens()}")
    err.print(f"  cost             {projection.cost.money() if projection.cost else 'unknown'}")


def _cost(cost: float | None) -> str:
    return "cost unknown" if cost is None else dollars(cost)


def command_of(job: Job) -> str:
    """The command that goes on with a run."""
    return f"reflectune runs resume {shlex.quote(str(job.run))}"


def _retry_of(job: Job) -> str:
    """The command that goes on with trying failed rows again."""
    recipe = job.recipe
    words = ["reflectune", "runs", "retry", str(job.run), "--oracle", recipe.oracle]
    words += ["--base-url", recipe.base_url] if recipe.base_url and "@" not in recipe.oracle else []
    words += ["--key-env", recipe.key_env] if recipe.key_env != "OPENAI_API_KEY" else []
    return shlex.join([*words, *(word for reason in job.reasons for word in ("--reason", reason))])


def _table(changes: Changes) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("mean of the rewritten rows", "before", "after"):
        table.add_column(name, justify="left" if name.startswith("mean") else "right")
    for name, change in changes.lengths.items():
        _add(table, f"words of the {name}", change)
    for name, change in changes.scores.items():
        _add(table, f"score of the {name}", change)
    return table


def _add(table: Table, name: str, change: Change) -> None:
    table.add_row(name, str(change.before), str(change.after))


def _show_row(recycled: Recycled) -> None:
    old, new = recycled.versions["original"], recycled.best
    compare = both if err.no_color or not err.is_terminal else difference
    err.print(Text(f"── row {recycled.id}", style="bold"))
    if _asked(old) != _asked(new):
        err.print(Text("instruction", style="dim"))
        err.print(compare(_asked(old), _asked(new)))
    if old.response != new.response:
        err.print(Text("response", style="dim"))
        err.print(compare(old.response, new.response))
    err.print()


def _asked(version: Version) -> str:
    return f"{version.instruction}\n{version.input}" if version.input else version.instruction


def _show_next(job: Job, outcome: Outcome) -> None:
    err.print(f"data      {outcome.data}")
    err.print(f"failures  {job.run / 'failures.jsonl'}")
    again = _retry_of(job) if job.retry and outcome.stopped else command_of(job)
    if outcome.stopped == "budget":
        what = "batch that is worth a day" if job.recipe.batch else "request as long as it may get"
        of = f"{dollars(outcome.spent or 0)} of the budget of {dollars(job.recipe.budget or 0)} are spent"
        err.print(Text(f"{of}: what is left does not surely pay for another {what}.", "yellow"))
        err.print(Text(f"Go on with: {again} --budget AMOUNT, with a higher amount", style="yellow"))
    elif outcome.stopped or outcome.counts.pending:
        err.print(Text(f"{'Stopped. ' if outcome.stopped else ''}Go on with: {again}", style="yellow"))
    elif outcome.counts.failed:
        err.print(f"Look at the failures: reflectune runs show {shlex.quote(str(job.run))} --failed")
        err.print(f"Try them again:       reflectune runs retry {shlex.quote(str(job.run))}")
