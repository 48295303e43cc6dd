"""Builds a data set from a plan: in parallel, over machines, and on from where it was killed.

A :class:`Plan` lists, for every split, parts of units. Workers turn parts into record files; when
all are there they are joined, checked and moved to their place in one step. Until then a data set
that stood there stays as it was. The result depends on the source and the settings alone: neither
on the number of processes or machines, nor on how often it was interrupted, bit for bit.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_prep import claims, finishing, parts, workers
from data_prep.finishing import Header, building_directory, check_replaceable, notes_directory
from data_prep.parts import Job, Unit
from data_prep.problems import Problem
from liftjax.data.schema import METADATA_FILE, Record
from liftjax.data.workers import available_cores
from liftjax.errors import LiftjaxError

_SHARDS_PATIENCE_S = 10  # for another that starts over

__all__ = ["Plan", "Problem", "Unit", "add_build_arguments", "build", "build_from_args"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A data set to be.

    Attributes:
      name: in snake_case. skeleton: of all records.
      settings: all that decides the records besides the source's files; JSON.
      parts: split -> parts, each the units of one record file of some hundred records.
      metadata: what else to store (source, licence); JSON.
      problems: found while planning. files: to lie beside the records, by name.
      check_scale: refuse units whose people have legs of no human length in metres.
      sheet: draw some records. unit: what the progress bar calls a unit.
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


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """--out, --processes and --shard."""
    parser.add_argument("--out", required=True, help="directory of the data set")
    parser.add_argument(
        "--processes",
        type=int,
        default=available_cores(),
        metavar="N",
        help="worker processes; default: one a core",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="build the I-th (from 0) of N shares of the parts only, on one of N machines that "
        "share the directory of --out; then run `python -m data_prep merge --out DIR`",
    )


def build_from_args(plan: Plan, args: argparse.Namespace) -> dict | None:
    """Builds with the options of :func:`add_build_arguments`."""
    return build(plan, args.out, processes=args.processes, shard=parse_shard(args.shard))


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


def build(
    plan: Plan, out, *, processes: int | None = 1, shard: tuple[int, int] = (0, 1)
) -> dict | None:
    """Builds the data set `out`, or a share of its parts; prints what came of it.

    Args:
      plan: what to build.
      out: its directory; new, empty, or an older data set, which stays until the new one is whole.
      processes: workers; 1 works in this process, None takes one a core.
      shard: (i, n) for the i-th of n shares.

    Returns:
      The contents of the new liftjax.json; None if this was one share of several.

    Raises:
      LiftjaxError: something in the source that cannot be passed over, a full disk, a directory
        that holds something else. Finished parts are kept for the next run.
    """
    out = Path(out).expanduser().resolve()
    processes = available_cores() if processes is None else processes
    if processes < 1:
        raise LiftjaxError(f"--processes {processes}: give 1 or more.")
    check_replaceable(out)
    header = _header(plan, _fingerprint(plan))
    with _disk_errors(out):
        if shard[1] > 1:
            return _build_shard(plan, out, header, processes, shard)
        with claims.alone(out):
            return _build_whole(plan, out, header, processes)


def _build_whole(plan: Plan, out: Path, header: Header, processes: int) -> dict:
    finishing.recover(out)
    done = _finished_before(out, header.fingerprint)
    if done is not None:
        _remove_unfinished(out)
        return done
    if not _continues(header, out):
        _start_over(out)
    with _leftovers_told(out):
        _prepare(plan, out, header)
        _write_parts(plan, out, processes, (0, 1))
        document = finishing.finish(out)
    print(report(document, out))
    return document


def _build_shard(
    plan: Plan, out: Path, header: Header, processes: int, shard: tuple[int, int]
) -> dict | None:
    """Writes its parts, beside other shards; only alone it may remove what they write into."""
    done = _finished_before(out, header.fingerprint)
    if done is not None:
        return done
    if not _continues(header, out):
        with claims.alone(out, _SHARDS_PATIENCE_S):
            if not _continues(header, out):  # nor has another shard started over meanwhile
                _start_over(out)
    with (
        claims.one_of(out, shard, _SHARDS_PATIENCE_S),
        _leftovers_told(out, removable=False),
    ):
        _prepare(plan, out, header)
        _write_parts(plan, out, processes, shard)
        print(_shard_report(out, shard))
        return None


def merge(out, others: Sequence = ()) -> dict:
    """Joins the parts that the shards of a build have written.

    Args:
      out: the directory that the builds were given.
      others: the same of builds that wrote elsewhere; their parts are copied to those of `out`.
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
            finishing.gather(Path(other).expanduser().resolve(), out)
        document = finishing.finish(out)
    for other in others:
        print(f"The parts of {other} were copied; its hidden directories there may be deleted.")
    print(report(document, out))
    return document


def write_dataset(
    out,
    name: str,
    splits: Mapping[str, Iterable[Record]],
    metadata: dict,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Writes records that are there already, or come from a generator, as a data set.

    Whatever goes wrong, what `out` held before stays, and nothing else is left.
    """
    out = Path(out).resolve()
    made = {split: iter(records) for split, records in splits.items()}
    first = {split: next(records, None) for split, records in made.items()}
    skeleton = next((r.skeleton for r in first.values() if r is not None), "human36m")
    units = {split: [(_Given(split, first[split], made[split]),)] for split in splits}
    plan = Plan(
        name, skeleton, {}, units, metadata, (), files or {}, check_scale=False, sheet=False
    )
    check_replaceable(out)
    try:
        with _disk_errors(out):
            _remove_unfinished(out)
            _prepare(plan, out, _header(plan, ""))
            _write_parts(plan, out, 1, (0, 1))
            finishing.finish(out)
    finally:
        _remove_unfinished(out)


@dataclasses.dataclass(frozen=True)
class _Given(Unit):
    """Records that are at hand."""

    name: str
    first: Record | None
    others: Iterator[Record]
    inputs: tuple[str, ...] = ()

    def records(self) -> Iterator[Record]:
        if self.first is not None:
            yield self.first
            yield from self.others


def _fingerprint(plan: Plan) -> str:
    """Of what decides the records, but for the time of change of the source's files."""
    units = {
        split: [[[u.name, *_sizes(u)] for u in part] for part in chosen]
        for split, chosen in plan.parts.items()
    }
    text = json.dumps([plan.name, plan.skeleton, plan.settings, plan.metadata, units])
    return hashlib.sha256(text.encode()).hexdigest()


def _sizes(unit: Unit) -> list[list[int]]:
    return [parts.state_of(path)[:-1] for path in unit.inputs]


def _finished_before(out: Path, fingerprint: str) -> dict | None:
    """liftjax.json of a whole data set of the same plan in `out`; says so."""
    if not finishing.is_whole(out):
        return None
    document = json.loads((out / METADATA_FILE).read_text())
    if document.get("fingerprint") != fingerprint:
        return None
    print(f"{out} is complete, of files of the same names and sizes; delete it to build it anew.")
    return document


@contextlib.contextmanager
def _leftovers_told(out: Path, removable: bool = True) -> Iterator[None]:
    """After a refusal, says where finished parts are; removes the directories if there are none."""
    try:
        yield
    except LiftjaxError:
        if any(notes_directory(out).glob("*-*.json")):
            directories = f"{building_directory(out)} and {notes_directory(out)}"
            print(f"Finished parts are kept for another try; or delete {directories}.")
        elif removable:
            _remove_unfinished(out)
        raise


def _header(plan: Plan, fingerprint: str) -> Header:
    return Header(
        name=plan.name,
        skeleton=plan.skeleton,
        settings=plan.settings,
        metadata=plan.metadata,
        parts={split: len(chosen) for split, chosen in plan.parts.items()},
        problems=[[*vars(p).values()] for p in plan.problems],
        fingerprint=fingerprint,
        sheet=plan.sheet,
    )


def _continues(header: Header, out: Path) -> bool:
    """Whether a build goes on from what an unfinished one has left, or there is none."""
    before = finishing.read_header(out)
    return before is None or _comparable(before) == _comparable(header)


def _start_over(out: Path) -> None:
    print(f"Starting over: the unfinished build of {out} had other settings.")
    _remove_unfinished(out)


def _prepare(plan: Plan, out: Path, header: Header) -> None:
    """Makes the directories of the build."""
    directory, notes = building_directory(out), notes_directory(out)
    directory.mkdir(parents=True, exist_ok=True)
    notes.mkdir(parents=True, exist_ok=True)
    for file, content in plan.files.items():
        (directory / file).write_bytes(content)
    _write_whole(notes / finishing.PLAN_FILE, json.dumps(vars(header)))


def _comparable(header: Header) -> dict:
    """What two builds must share to use each other's parts (each part knows its own inputs)."""
    kept = ("name", "skeleton", "settings", "metadata", "parts")
    return json.loads(json.dumps({key: getattr(header, key) for key in kept}))


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)


def _remove_unfinished(out: Path) -> None:
    for directory in (building_directory(out), notes_directory(out)):
        shutil.rmtree(directory, ignore_errors=True)


def _write_parts(plan: Plan, out: Path, processes: int, shard: tuple[int, int]) -> None:
    """Writes the parts of a shard that are not there yet."""
    jobs = [
        Job(
            building_directory(out),
            notes_directory(out),
            plan.name,
            split,
            number,
            plan.skeleton,
            units,
            plan.check_scale,
        )
        for split, chosen in plan.parts.items()
        for number, units in enumerate(chosen)
    ][shard[0] :: shard[1]]
    workers.write_all(jobs, processes, plan.name, plan.unit)


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Failures to write in one line."""
    try:
        yield
    except (OSError, parts.WriteError) as error:
        reason = _reason(error)
        cure = "free some space" if "space" in reason or "uota" in reason else "make it writable"
        raise LiftjaxError(
            f"Could not write {out}: {reason}; nothing was changed there. To go on, {cure} and run "
            "the same command again, or choose another directory."
        ) from error


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "No space left on device" if "No space left" in text else text.splitlines()[0]


def _shard_report(out: Path, shard: tuple[int, int]) -> str:
    header = finishing.read_header(out)
    missing = finishing.missing_parts(out, header)
    left = f"{len(missing)} of {sum(header.parts.values())} parts are still to come"
    then = f"then run: python -m data_prep merge --out {out}"
    return f"Shard {shard[0]}/{shard[1]} of {out} is done; {left if missing else 'all are'}; {then}"


def report(document: dict, out: Path) -> str:
    """What was built, what was left out and how well it agrees with itself, in a few lines."""
    lines = [f"Wrote {out}"]
    for split, summary in document["splits"].items():
        subjects = ", ".join(f"{k} {n}" for k, n in list(summary["counts"]["subject"].items())[:8])
        lines.append(f"  {split}: {summary['records']} records ({subjects})")
        lines += [f"    {line}" for line in _check_lines(summary["checks"])]
    for kind, count in document["problems"].items():
        left_out = f"{count['dropped']} records left out" if count["dropped"] else "a remark"
        lines.append(f"  {kind}: {count['problems']}, {left_out}")
    if document["problems"]:
        lines.append(f"  each is named in {out / finishing.PROBLEMS_FILE}")
    if (out / finishing.SHEET_FILE).exists():
        lines.append(f"  look at {out / finishing.SHEET_FILE}")
    return "\n".join(lines)


def _check_lines(checks: dict) -> list[str]:
    if not checks:
        return []
    errors = [e for e in checks["reprojection_px"].values() if e["median"] is not None]
    lines = []
    if errors:
        lines.append(
            f"3D projected against 2D: median {max(e['median'] for e in errors):.3g} px in the "
            f"worst camera, at most {max(e['max'] for e in errors):.3g} px"
        )
    limbs = checks["limbs"]
    subject = max(limbs, key=lambda s: limbs[s]["std_mm"])
    worst = limbs[subject]
    lines.append(
        f"limb lengths: least constant {worst['least_constant_bone']} of {subject}, "
        f"{worst['mean_mm']:.0f} mm with a deviation of {worst['std_mm']:.1f} mm"
    )
    return lines
