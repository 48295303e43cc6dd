"""`tables`: plans what the wanted tables need, does what is missing, and writes the report."""

from collections.abc import Mapping, Sequence

import jax
from etils import epath

from liftjax.errors import LiftjaxError, check_name, unknown_name
from liftjax.experiments.paper import sources
from liftjax.experiments.paper.definitions import PAPER_TABLES, TABLES
from liftjax.experiments.paper.execute import Workdir, execute_runs
from liftjax.experiments.paper.plan import TablesPlan, describe, estimate_seconds
from liftjax.experiments.paper.runs import Source
from liftjax.experiments.paper.scales import SCALES, SMALL, TESTED_FRAMES, VIDEO_FRAMES, TablesScale
from liftjax.experiments.paper.study import Study
from liftjax.runtime.checkpoints import read_meta

ALL = "all"


def make_tables(
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
      workdir: the directory of data, runs and report; started again it goes on.
      data: data sets as NAME or NAME=DIRECTORY; Table 2 has all of them, the others the first.
      scale: one of SCALES.
      seeds: of everything that is trained.
      given: NAME=RUN_DIRECTORY of first detectors and lifters that need not be trained.
      dry_run: print the plan and do nothing.
      command: what the user typed, for the report.

    Raises:
      LiftjaxError: an unknown name, data that is missing, or a run that does not fit.
    """
    if "://" in workdir:
        raise LiftjaxError(
            f"--workdir {workdir}: several processes share it by file locks, which object stores "
            "do not have; give a directory."
        )
    place, plan = Workdir(workdir), make_plan(names, data, SCALES[scale], seeds, given)
    platform = jax.default_backend()
    print(describe(plan, place, platform), flush=True)
    if dry_run:
        return
    from liftjax.experiments.paper.report import document  # says now if a package is missing

    runs = plan.runs()
    execute_runs(runs, place, estimate_seconds(runs, place, platform))
    with place.claim("report", wait=True):
        print(document.write_report(plan, place, command))


def make_plan(
    names: Sequence[str],
    data: Sequence[str],
    scale: TablesScale,
    seeds: Sequence[int],
    given: Sequence[str] = (),
) -> TablesPlan:
    """The plan of the tables `names`; see :func:`make_tables`."""
    tables = [table for name in names for table in (PAPER_TABLES if name == ALL else [name])]
    for table in tables:
        if table not in TABLES:
            raise unknown_name("table", table, [*TABLES, ALL])
    if len(set(seeds)) != len(seeds) or min(seeds, default=-1) < 0:
        raise LiftjaxError(f"Seeds are different numbers from 0 up, not {list(seeds)}.")
    found = [sources.find(text, scale) for text in data]
    if len({source.name for source in found}) != len(found):
        raise LiftjaxError("--data names a data set twice; name each once.")
    places = dict(_given_run(text, scale) for text in given)
    if "video" in tables and not sources.find_clips(found[0], scale):
        raise LiftjaxError(
            f"The test split of {data[0]} is no video: Table video needs clips of {VIDEO_FRAMES} "
            "frames; prepare the data with every frame of its test split."
        )
    studies = tuple(
        tuple(_study(source, scale, seed, places) for source in found) for seed in seeds
    )
    return TablesPlan(tuple(table for table in TABLES if table in tables), studies)


def _study(source: Source, scale: TablesScale, seed: int, given: Mapping[str, str]) -> Study:
    earlier = None
    if source.name == "multicam" and not given:
        small = scale if scale.counts else SMALL
        earlier = Study(sources.find("synthetic", small), small, seed)
    clips = sources.find_clips(source, scale)
    return Study(source, scale, seed, given, earlier, clips, sources.actions(source))


def _given_run(text: str, scale: TablesScale) -> tuple[str, str]:
    """--given NAME=DIRECTORY as (name, directory), whose network is the one that the name means."""
    presets = {name: ("detector", setup.preset) for name, setup in scale.detectors.items()}
    presets |= {name: ("lifter", name) for name in scale.lifters}
    presets |= {
        f"{name}_{frames}": ("lifter", name)
        for name in scale.video_lifters
        for frames in TESTED_FRAMES[1:]
    }
    name, _, directory = text.partition("=")
    check_name("--given", name, presets)
    if not directory:
        raise LiftjaxError(f"--given {name} lacks its run directory; write {name}=DIRECTORY.")
    model = read_meta(directory)["model"]
    if (model["kind"], model["name"]) != presets[name]:
        raise LiftjaxError(
            f"--given {name}: {directory} holds the {model['kind']} {model['name']}; at this scale "
            f"give a run of the {' '.join(presets[name])}."
        )
    return name, str(epath.Path(directory).expanduser().resolve())
