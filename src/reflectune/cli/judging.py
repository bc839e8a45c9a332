"""Have answers judged: read, match, ask, and hand over what it came to."""

from __future__ import annotations

import re
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reflectune.cli.clustering import Outing, inquire_abroad, working_on
from reflectune.cli.evaluation_folder import check_evaluation, wording
from reflectune.cli.inquiry import Inquiry, inquire, show
from reflectune.cli.judge_estimate import show_judge_estimate
from reflectune.cli.screen import Meter, err, say
from reflectune.cli.verdicts import NOTE, Finding, conclude
from reflectune.cluster import Cluster
from reflectune.cluster.places import whole_prompts
from reflectune.cluster.work import Judging
from reflectune.errors import InputError, SettingsError
from reflectune.evaluate.judge import PROMPTS, Lost, Matched, Verdict, judge, matched, model_names, read_answers
from reflectune.evaluate.judge.evaluation import Judged
from reflectune.evaluate.judge.kept import VERDICTS, by_judge, read_verdicts
from reflectune.evaluate.judge.reviews import Reviews, read_reviews
from reflectune.exports.kit import counted
from reflectune.formats import parse_mapping
from reflectune.generation import open_model
from reflectune.generation.naming import file_name, model_name
from reflectune.oracles.engine import Engine
from reflectune.recipe import JudgeSettings, Recipe
from reflectune.records import Failure, Record

_MOST_JUDGES = 2
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        recipe: The first judge, and the limits of both.
        settings: How they judge.
        files: The two files of answers, or the files of reviews.
        judges: Who judges.
        run: The run's folder; by default named after the models.
        reviews: Whether the files hold published reviews, so that nobody is asked.
        quiet: Whether to show only errors.
        cluster: The Ray cluster that does it; by default this process does.
    """

    recipe: Recipe
    settings: JudgeSettings
    files: tuple[str, ...]
    judges: tuple[str, ...]
    run: Path | None = None
    reviews: bool = False
    quiet: bool = False
    cluster: Cluster | None = None


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Do what is asked, show what it came to, and end with the exit code that says so.

    Raises:
        InputError: A file cannot be read, or the two have nothing in common.
        OracleError: A judge cannot be used; what was asked before is kept.
        RunError: The run's folder cannot be used.
        SettingsError: What is asked does not fit.
    """
    started = time.monotonic()
    _check(asked)
    if asked.reviews:
        finding = _read_reviews(asked)
        reviewed = f"{counted(finding.items, 'reviewed pair')}, {counted(len(finding.judged), 'judge')}"
        say(f"{reviewed}; nobody is asked", quiet=asked.quiet)
        if not dry_run:
            _check_folder(asked, finding)
            conclude(finding, asked.recipe, started, quiet=asked.quiet, as_json=as_json)
        return
    names, found, alone = paired(asked)
    if dry_run:
        show_judge_estimate(asked.recipe, asked.settings, asked.judges, found, as_json=as_json, quiet=asked.quiet)
        return
    judges = "-and-".join(map(model_name, asked.judges))
    folder = asked.run or Path("runs") / file_name(f"{names[0]}-against-{names[1]}-by-{judges}")
    source: dict[str, object] = {"files": list(asked.files), "judge": list(asked.judges)}
    source["wording"] = wording(asked.settings.prompts, *PROMPTS)
    source |= {name: value for name in ("map", "limit", "base_url") if (value := getattr(asked.recipe, name))}
    finding = Finding(folder, names, asked.settings, source, len(found.pairs) + len(found.lost), alone, found.pairs)
    _check_folder(asked, finding)
    with working_on(asked.cluster, quiet=asked.quiet) as as_parts:
        for name in asked.judges:
            judged, inquiry = _ask(asked, name, found, folder)
            finding.add(judged, inquiry)
            if finding.stopped:
                break
        try:
            conclude(finding, asked.recipe, started, quiet=asked.quiet, as_json=as_json)
        finally:
            as_parts(folder / VERDICTS)


def paired(asked: Asked) -> tuple[tuple[str, str], Matched, str]:
    """What the models are called, the pairs, and which file has rows that the other has no answer to; it says so.

    Raises:
        InputError: A file cannot be read, or the two have nothing in common.
    """
    mapping = parse_mapping(asked.recipe.map) if asked.recipe.map else None
    a, b = (read_answers(file, mapping) for file in asked.files)
    names = model_names(a, b, asked.settings.name_a, asked.settings.name_b)
    found = _limited(matched(a, b), asked.recipe.limit)
    told = f"{names[0]} against {names[1]}: {counted(len(found.pairs), 'pair')}, matched by {found.by}"
    alone = _only_in(found, asked.files)
    without = f"; without a pair: {counted(len(found.lost), 'question')}{alone and f' ({alone})'}"
    say(told + (without if found.lost else ""), quiet=asked.quiet)
    return names, found, alone


def check_files(asked: Asked) -> None:
    """Refuse anything but two files.

    Raises:
        SettingsError: There are more, or fewer.
    """
    if len(asked.files) != 2:  # noqa: PLR2004 - A and B
        raise SettingsError(
            f"Two files of answers are compared, and {len(asked.files)} are named.",
            mend="Write `reflectune judge A B`, or --reviews for files of published reviews.",
        )


def _check(asked: Asked) -> None:
    """Refuse what does not go together.

    Raises:
        SettingsError: It does not.
    """
    if asked.reviews:
        return
    check_files(asked)
    if len(asked.judges) > _MOST_JUDGES or len(set(asked.judges)) < len(asked.judges):
        raise SettingsError(
            f"The judges are {', '.join(asked.judges)}.", mend="Name one judge, or two different ones, with --judge."
        )


def _check_folder(asked: Asked, finding: Finding) -> None:
    """Refuse a folder whose files are another command's, or a judge's whom nobody asks now; note who judged by hand.

    Raises:
        RunError: What lies there cannot be read.
        SettingsError: It is one.
    """
    folder = finding.run
    if folder.is_file():
        raise SettingsError(f"{folder} is a file, not a run's folder.", mend="Name a folder with --run.")
    if (folder / "state.sqlite").is_file():
        if not (folder / NOTE).is_file():
            raise SettingsError(f"The run {folder} holds no verdicts.", mend="Name another folder with --run.")
        if asked.reviews:
            raise SettingsError(
                f"The run {folder} holds what its own judge said, which would be overwritten.",
                mend="Name another folder with --run.",
            )
    check_evaluation(folder, "judge", finding.asked, quiet=asked.quiet)
    finding.before = tuple(by_judge(read_verdicts(folder)))
    if finding.people:
        say(
            f"{', '.join(person.judge for person in finding.people)}: what was judged by hand stays.", quiet=asked.quiet
        )


def _only_in(found: Matched, files: tuple[str, ...]) -> str:
    """Which file has rows that the other has no answer to, and how many."""
    return ", ".join(f"{count:,} only in {file}" for count, file in zip(found.alone, files, strict=True) if count)


def _limited(found: Matched, limit: int | None) -> Matched:
    """The first pairs. What has no pair is left out then: it is not known which rows it belongs to."""
    return found if limit is None or limit >= len(found.pairs) else Matched(found.pairs[:limit], (), found.by)


@dataclass(slots=True)
class _Progress:
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    def note(self, said: Verdict | Failure) -> None:
        if isinstance(said, Verdict):
            self.verdicts[said.id] = said
        else:
            self.failures[said.id] = said
            self.reasons[said.reason] = self.reasons.get(said.reason, 0) + 1

    def take(self, said: Record) -> None:
        """Take note of what came from a cluster, perhaps twice."""
        if isinstance(said, Verdict | Failure) and said.id not in self.verdicts and said.id not in self.failures:
            self.note(said)

    @property
    def done(self) -> int:
        return len(self.verdicts) + len(self.failures)


def _ask(asked: Asked, name: str, found: Matched, folder: Path) -> tuple[Judged, Inquiry]:
    """Have one judge compare all pairs; what it said stands in the order of the pairs."""
    progress = _Progress()
    with Meter(len(found.pairs), 0, quiet=asked.quiet, unit="pairs") as meter:

        async def verdicts_of(engine: Engine) -> None:
            asked.settings.save(folder / NOTE)
            async with aclosing(judge(found.pairs, engine, asked.settings)) as verdicts:
                async for said in verdicts:
                    progress.note(said)
                    show(meter, engine, progress.done, progress.reasons)

        recipe = asked.recipe.model_copy(update={"oracle": name})
        if asked.cluster is not None:
            folder.mkdir(parents=True, exist_ok=True)
            asked.settings.save(folder / NOTE)
            work = partial(Judging, settings=whole_prompts(asked.settings))
            outing = Outing(asked.cluster, folder, recipe, work, found.pairs, progress.take)
            inquiry = inquire_abroad(outing, meter, quiet=asked.quiet)
        else:
            inquiry = inquire(folder, recipe, verdicts_of, open_with=open_model)
    failed = [Lost(progress.failures[pair.id], pair.dataset) for pair in found.pairs if pair.id in progress.failures]
    pending = len(found.pairs) - progress.done
    return Judged(
        judge=inquiry.oracle,
        verdicts=tuple(progress.verdicts[pair.id] for pair in found.pairs if pair.id in progress.verdicts),
        lost=(*found.lost, *failed),
        note=f"broken off: {pending:,} pairs are not judged yet" if pending else "",
    ), inquiry


def _read_reviews(asked: Asked) -> Finding:
    """What published reviews came to, by judge in the order of the files."""
    read: dict[str, list[Reviews]] = {}
    for file in asked.files:
        reviews = read_reviews(Path(file))
        if any(other.dataset == reviews.dataset for other in read.get(reviews.judge, ())):
            raise InputError(
                f"{file} holds reviews of {reviews.dataset} by {reviews.judge} once more.",
                mend="Name each file once; the judge is what follows `_reviews_` in its name.",
            )
        read.setdefault(reviews.judge, []).append(reviews)
        if reviews.differing:
            err.print(f"{file}: {reviews.differing:,} rows state other scores than their reviews; the reviews count.")
    names = asked.settings.name_a or "Answer1", asked.settings.name_b or "Answer2"
    items = max(sum(len(one.verdicts) + len(one.lost) for one in each) for each in read.values())
    more = f"-and-{len(asked.files) - 1}-more" if len(asked.files) > 1 else ""
    folder = asked.run or Path("runs") / file_name(f"{Path(asked.files[0]).stem}{more}")
    pairs = {(pair.dataset, pair.id): pair for each in read.values() for one in each for pair in one.pairs}
    source: dict[str, object] = {"reviews": list(asked.files)}
    finding = Finding(folder, names, asked.settings, source, items, pairs=tuple(pairs.values()))
    for name, each in read.items():
        verdicts = tuple(verdict for one in each for verdict in one.verdicts)
        finding.add(Judged(name, verdicts, tuple(lost for one in each for lost in one.lost), published=True))
    return finding
