"""`tables`: plans what the wanted tables need, does what is missing, and writes the report."""

from collections.abc import Mapping, Sequence

import jax
from etils import epath

from liftjax.errors import LiftjaxError, unknown_name
from liftjax.experiments.paper import sources
from liftjax.experiments.paper.definitions import PAPER_TABLES, TABLES
from liftjax.experiments.paper.execute import Workdir, execute
from liftjax.experiments.paper.plan import Plan, describe, estimate
from liftjax.experiments.paper.scales import SCALES, SMALL, VIDEO_FRAMES, Scale
from liftjax.experiments.paper.study import Study
from liftjax.runtime.checkpoints import read_meta

ALL = "all"


def run(
    names: Sequence[str],
    workdir: str,
    *,
    data: Sequence[str] = ("synthetic",),
    scale: str = "small",
    seeds: Sequence[int] = (0,),
    given: Sequence[str] = (),
    dry_run: bool = False,
    command: str = "",
) -> None:
    """Makes the tables `names` in `workdir`, and a report in WORKDIR/report.

    Args:
      names: of TABLES; "all": those of the paper.
      data: data sets as NAME or NAME=DIRECTORY; Table 2 has all of them, the others the first.
      scale: one of SCALES. seeds: of everything that is trained.
      given: NAME=RUN_DIRECTORY of first detectors and lifters that need not be trained.
      dry_run: print the plan and do nothing.
      command: what the user typed, for the report.

    Raises:
      LiftjaxError: an unknown name, data that is missing, or a run that does not fit.
    """
    if "://" in workdir:
        raise LiftjaxError(
            f"--workdir {workdir}: several processes share one by file locks, which an object "
            "store has not; give a directory."
        )
    place = Workdir(workdir)
    plan = make_plan(names, data, SCALES[scale], seeds, given)
    platform = jax.default_backend()
    print(describe(plan, place, platform), flush=True)
    if dry_run:
        return
    from liftjax.experiments.paper.report import document  # says now if a package is missing

    runs = plan.runs()
    execute(runs, place, estimate(runs, place, platform))
    with place.claim("report", wait=True):
        print(document.write(plan, place, command))


def make_plan(
    names: Sequence[str],
    data: Sequence[str],
    scale: Scale,
    seeds: Sequence[int],
    given: Sequence[str] = (),
) -> Plan:
    """The plan of the tables `names`; see :func:`run`."""
    tables = [table for name in names for table in (PAPER_TABLES if name == ALL else [name])]
    for table in tables:
        if table not in TABLES:
            raise unknown_name("table", table, [*TABLES, ALL])
    if len(set(seeds)) != len(seeds) or min(seeds, default=-1) < 0:
        raise LiftjaxError(f"Seeds are different numbers from 0 up, not {list(seeds)}.")
    found = [sources.find(text, scale) for text in data]
    if len({source.name for source in found}) != len(found):
        raise LiftjaxError("--data names a data set twice.")
    places = _given(given, scale)
    if "video" in tables and not all(sources.find_clips(source, scale) for source in found[:1]):
        raise LiftjaxError(
            f"The test split of {data[0]} is no video: Table video needs clips of {VIDEO_FRAMES} "
            "frames; prepare the data with every frame of its test split."
        )
    studies = tuple(
        tuple(_study(source, scale, seed, places) for source in found) for seed in seeds
    )
    ordered = [table for table in TABLES if table in tables]
    return Plan(tuple(ordered), studies)


def _study(source, scale: Scale, seed: int, given: Mapping[str, str]) -> Study:
    earlier = None
    if source.name == "multicam" and not given:
        small = scale if scale.counts else SMALL
        earlier = Study(sources.find("synthetic", small), small, seed)
    clips = sources.find_clips(source, scale)
    return Study(source, scale, seed, given, earlier, clips, sources.actions(source))


def _given(texts: Sequence[str], scale: Scale) -> dict[str, str]:
    """--given NAME=DIRECTORY as a dictionary."""
    known = (*scale.detectors, *scale.lifters)
    known += tuple(f"{name}_{VIDEO_FRAMES}" for name in scale.video_lifters)
    places = {}
    for text in texts:
        name, _, directory = text.partition("=")
        if name not in known:
            raise unknown_name("--given", name, known)
        if not directory:
            raise LiftjaxError(f"--given {name} lacks its run directory; write {name}=DIRECTORY.")
        _check_given(name, directory, scale)
        places[name] = str(epath.Path(directory).expanduser().resolve())
    return places


def _check_given(name: str, directory: str, scale: Scale) -> None:
    """Raises a LiftjaxError unless the run is of the network that `name` stands for."""
    kind = "detector" if name in scale.detectors else "lifter"
    preset = (
        scale.detectors[name].preset
        if kind == "detector"
        else name.removesuffix(f"_{VIDEO_FRAMES}")
    )
    model = read_meta(directory)["model"]
    if (model["kind"], model["name"]) != (kind, preset):
        raise LiftjaxError(
            f"--given {name}: {directory} holds the {model['kind']} {model['name']}; at this scale "
            f"it is to be the {kind} {preset}."
        )
