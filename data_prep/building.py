"""Builds a data set from a plan: in parallel, on several machines, and on after an interruption.

A :class:`DatasetPlan` lists the parts of every split. Workers turn parts into record files. When
all of them are there, they are joined, checked and moved to their place in one step; an older data
set stays there until then. The bytes depend on the source and the settings alone: not on the number
of processes or machines, nor on interruptions.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_prep import claims, finishing, workers
from data_prep.finishing import Header, check_replaceable
from data_prep.parts import Job, Unit, building_directory, notes_directory, state_of
from data_prep.problems import Problem
from data_prep.reporting import format_report
from liftjax.data.schema import METADATA_FILE, Record
from liftjax.data.workers import available_cores
from liftjax.errors import LiftjaxError, first_line

_SHARDS_PATIENCE_S = 10  # how long a shard waits for another one that starts over
_FRAME = ("out", "processes", "shard", "run")  # arguments that no source has of its own


@dataclasses.dataclass(frozen=True)
class DatasetPlan:
    """What to build.

    Attributes:
      name: of the data set, in snake_case.
      skeleton: joint set of all records.
      settings: all that decides the records besides the source's files; JSON.
      parts: split -> parts, each the units of one record file of some hundred records.
      metadata: what else to store (source, licence); JSON.
      problems: found while planning.
      files: to store beside the records, by name.
      check_scale: refuse units in which people's legs have no human length in metres.
      sheet: draw some records.
      unit: what the progress bar counts.
    """

    name: str
    skeleton: str
    settings: dict
    parts: Mapping[str, Sequence[Sequence[Unit]]]
    metadata: dict
    problems: Sequence[Problem] = ()
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    check_scale: bool = True
    sheet: bool = True
    unit: str = "sequences"

    def header(self) -> Header:
        return Header(
            name=self.name,
            skeleton=self.skeleton,
            settings=self.settings,
            metadata=self.metadata,
            parts={split: len(parts) for split, parts in self.parts.items()},
            problems=[[*vars(problem).values()] for problem in self.problems],
            fingerprint=self._fingerprint(),
            sheet=self.sheet,
        )

    def _fingerprint(self) -> str:
        """Of all that decides the records, but for the times of change of the source's files."""
        units = {
            split: [[_name_and_sizes(unit) for unit in part] for part in parts]
            for split, parts in self.parts.items()
        }
        text = json.dumps([self.name, self.skeleton, self.settings, self.metadata, units])
        return hashlib.sha256(text.encode()).hexdigest()


def _name_and_sizes(unit: Unit) -> list:
    return [unit.name, *(state_of(path)[:-1] for path in unit.inputs)]


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """--out, --processes and --shard."""
    parser.add_argument("--out", required=True, help="directory of the data set")
    parser.add_argument(
        "--processes",
        type=int,
        default=available_cores(),
        metavar="N",
        help="worker processes; default: one per core",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="build only share I (from 0) of N, on one of N machines that share the directory of "
        "--out; when all are done, run `python -m data_prep merge --out DIR`",
    )


def plan_options(args: argparse.Namespace) -> dict:
    """The arguments of the source, without those that all builds share."""
    return {name: value for name, value in vars(args).items() if name not in _FRAME}


def build_from_args(plan: DatasetPlan, args: argparse.Namespace) -> dict | None:
    """Builds with the options of :func:`add_build_arguments`."""
    shard = parse_shard(args.shard)
    return build_dataset(plan, args.out, processes=args.processes, shard=shard)


def parse_shard(text: str | None) -> tuple[int, int]:
    """(i, n) of "i/n"; (0, 1) of None."""
    if text is None:
        return 0, 1
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        index, count = 0, 0
    if not 0 <= index < count:
        raise LiftjaxError(f"--shard {text}: give I/N with I from 0 to N - 1, such as 0/4.")
    return index, count


def build_dataset(
    plan: DatasetPlan, out, *, processes: int | None = 1, shard: tuple[int, int] = (0, 1)
) -> dict | None:
    """Builds the data set `out`, or a share of its parts, and prints a report.

    Args:
      plan: what to build.
      out: directory; new, empty, or with an older data set, which stays until the new one is
        complete.
      processes: number of workers; 1 works in this process, None takes one per core.
      shard: (i, n) for the i-th of n shares.

    Returns:
      The contents of the new liftjax.json; None if this was one share of several.

    Raises:
      LiftjaxError: the source has a fault that makes the build pointless, the disk is full, or the
        directory holds something else. Finished parts are kept for the next run.
    """
    out = Path(out).expanduser().resolve()
    processes = available_cores() if processes is None else processes
    if processes < 1:
        raise LiftjaxError(f"--processes {processes}: give 1 or more.")
    check_replaceable(out)
    header = plan.header()
    with _disk_errors(out):
        if shard[1] > 1:
            return _build_shard(plan, out, header, processes, shard)
        with claims.alone(out):
            return _build_whole(plan, out, header, processes)


def _build_whole(plan: DatasetPlan, out: Path, header: Header, processes: int) -> dict:
    finishing.recover(out)
    done = _finished_before(out, header.fingerprint)
    if done is not None:
        _remove_unfinished(out)
        return done
    if not _continues(header, out):
        _start_over(out)
    with _leftovers_told(out):
        _write_parts(plan, out, header, processes)
        document = finishing.finish_dataset(out)
    print(format_report(document, out))
    return document


def _build_shard(
    plan: DatasetPlan, out: Path, header: Header, processes: int, shard: tuple[int, int]
) -> dict | None:
    """Writes the parts of a shard while other shards may write theirs."""
    done = _finished_before(out, header.fingerprint)
    if done is not None:
        return done
    if not _continues(header, out):
        with claims.alone(out, _SHARDS_PATIENCE_S):
            if not _continues(header, out):  # another shard may have started over meanwhile
                _start_over(out)
    with claims.one_of(out, shard, _SHARDS_PATIENCE_S), _leftovers_told(out, removable=False):
        _write_parts(plan, out, header, processes, shard)
        print(_shard_report(out, header, shard))
        return None


def merge_shards(out, others: Sequence = ()) -> dict:
    """Joins the parts that the shards of a build have written.

    Args:
      out: the directory that the builds were given.
      others: the directories of builds that wrote elsewhere; their parts are copied to `out`.
    """
    out = Path(out).expanduser().resolve()
    check_replaceable(out)
    with _disk_errors(out), claims.alone(out):
        finishing.recover(out)
        if finishing.read_header(out) is None:
            state = "is complete" if finishing.is_whole(out) else "has no unfinished build"
            raise LiftjaxError(
                f"{out} {state}: there is nothing to join; build with --shard first."
            )
        for other in others:
            finishing.copy_parts(Path(other).expanduser().resolve(), out)
        document = finishing.finish_dataset(out)
    for other in others:
        print(f"The parts of {other} were copied; you may delete its hidden directories there.")
    print(format_report(document, out))
    return document


def write_dataset(
    out,
    name: str,
    splits: Mapping[str, Iterable[Record]],
    metadata: dict,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Writes records from lists or generators as a data set.

    If anything goes wrong, `out` stays as it was and nothing else is left.
    """
    out = Path(out).resolve()
    made = {split: iter(records) for split, records in splits.items()}
    first = {split: next(records, None) for split, records in made.items()}
    skeleton = next((r.skeleton for r in first.values() if r is not None), "human36m")
    units = {split: [(_GivenRecords(split, first[split], made[split]),)] for split in splits}
    plan = DatasetPlan(
        name, skeleton, {}, units, metadata, (), files or {}, check_scale=False, sheet=False
    )
    header = dataclasses.replace(plan.header(), fingerprint="")  # no build can be the same
    check_replaceable(out)
    try:
        with _disk_errors(out):
            _remove_unfinished(out)
            _write_parts(plan, out, header)
            finishing.finish_dataset(out)
    finally:
        _remove_unfinished(out)


@dataclasses.dataclass(frozen=True)
class _GivenRecords(Unit):
    name: str
    first: Record | None
    others: Iterator[Record]
    inputs: tuple[str, ...] = ()

    def records(self) -> Iterator[Record]:
        if self.first is not None:
            yield self.first
            yield from self.others


def _finished_before(out: Path, fingerprint: str) -> dict | None:
    """liftjax.json if `out` is complete and of the same plan; prints that it is."""
    if not finishing.is_whole(out):
        return None
    document = json.loads((out / METADATA_FILE).read_text())
    if document.get("fingerprint") != fingerprint:
        return None
    print(f"{out} is complete, of files of the same names and sizes; delete it to build it anew.")
    return document


@contextlib.contextmanager
def _leftovers_told(out: Path, removable: bool = True) -> Iterator[None]:
    """After an error, prints where finished parts are, or removes the directories without any."""
    try:
        yield
    except LiftjaxError:
        if any(notes_directory(out).glob("*-*.json")):
            directories = f"{building_directory(out)} and {notes_directory(out)}"
            print(f"Finished parts are kept for another try; or delete {directories}.")
        elif removable:
            _remove_unfinished(out)
        raise


def _continues(header: Header, out: Path) -> bool:
    """Whether the parts of an unfinished build, if there is one, can be used."""
    before = finishing.read_header(out)
    return before is None or _comparable(before) == _comparable(header)


def _comparable(header: Header) -> dict:
    """What two builds must share to use each other's parts; each part knows its own inputs."""
    kept = ("name", "skeleton", "settings", "metadata", "parts")
    return json.loads(json.dumps({key: getattr(header, key) for key in kept}))


def _start_over(out: Path) -> None:
    print(f"Starting over: the unfinished build of {out} had other settings.")
    _remove_unfinished(out)


def _remove_unfinished(out: Path) -> None:
    for directory in (building_directory(out), notes_directory(out)):
        shutil.rmtree(directory, ignore_errors=True)


def _write_parts(
    plan: DatasetPlan,
    out: Path,
    header: Header,
    processes: int = 1,
    shard: tuple[int, int] = (0, 1),
) -> None:
    """Writes the plan's files and those parts of a shard that are not there yet."""
    for directory in (building_directory(out), notes_directory(out)):
        directory.mkdir(parents=True, exist_ok=True)
    for file, content in plan.files.items():
        (building_directory(out) / file).write_bytes(content)
    finishing.write_header(out, header)
    all_units = [units for parts in plan.parts.values() for units in parts]
    jobs = [
        Job(part, plan.skeleton, units, plan.check_scale)
        for part, units in zip(header.parts_in(out), all_units, strict=True)
    ]
    workers.write_missing_parts(jobs[shard[0] :: shard[1]], processes, plan.name, plan.unit)


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Reports a failure to write in one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        if "No space left" in reason:  # ArrayRecord says more around it
            reason = "No space left on device"
        cure = "free some space" if "space" in reason or "uota" in reason else "make it writable"
        raise LiftjaxError(
            f"Could not write {out}: {reason}; nothing was changed there. To go on, {cure} and run "
            "the same command again, or choose another directory."
        ) from error


def _shard_report(out: Path, header: Header, shard: tuple[int, int]) -> str:
    missing, total = header.missing_parts(out), sum(header.parts.values())
    left = f"{len(missing)} of {total} parts are still to come" if missing else "all are"
    then = f"then run: python -m data_prep merge --out {out}"
    return f"Shard {shard[0]}/{shard[1]} of {out} is done; {left}; {then}"
