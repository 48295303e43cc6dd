"""The report: everything that was measured as one JSON document, and the files made of it."""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from etils import epath

from liftjax.data.records import PoseDataset
from liftjax.experiments.paper.definitions import TABLES
from liftjax.experiments.paper.execute import Workdir
from liftjax.experiments.paper.findings import check_findings
from liftjax.experiments.paper.outcomes import Outcome, Outcomes
from liftjax.experiments.paper.plan import TablesPlan
from liftjax.experiments.paper.report import formats, gallery, html
from liftjax.experiments.paper.report.moved import moved_joints
from liftjax.experiments.paper.runs import Run
from liftjax.experiments.paper.study import DETECTOR_TITLES, METHOD_TITLES, Study
from liftjax.experiments.paper.tabulate import finite, tabulate
from liftjax.runtime.run_directory import source_revision, versions
from liftjax.writing import write_text

_CURVES = ("loss", "loss_2d", "grad_ratio")
_INTERVALS = {
    1: "95 % intervals over test samples (bootstrap); they say nothing of how another training "
    "would have ended: one seed.",
    2: "95 % intervals over the seeds of training (Student's t).",
}
_TESTS = (
    "p: paired t test against FT-2D or the proposed setting, adjusted for the number of tests in "
    "the table (Holm)."
)


def write_report(plan: TablesPlan, workdir: Workdir, command: str = "") -> str:
    """Writes WORKDIR/report; returns what to print."""
    folder = workdir.root / "report"
    folder.mkdir(parents=True, exist_ok=True)
    report = _without_nan(build_report(plan, workdir, folder, command))
    write_text(folder / "report.json", json.dumps(report, allow_nan=False))
    formats.write_tables(report, folder)
    page = html.write_page(report, folder)
    return f"{formats.markdown(report)}\n\nReport: {page}"


def build_report(plan: TablesPlan, workdir: Workdir, folder: epath.Path, command: str = "") -> dict:
    """The report as a JSON document; its pictures are left in `folder`."""
    runs = plan.runs()
    outcomes = {run.id: workdir.outcome(run) for run in runs if run.lifters}
    first = [studies[0] for studies in plan.studies]  # the first data set, by seed
    study = first[0]
    shown = _guided_pairs(runs, first)
    pairs = {detector: by_seed[0] for detector, by_seed in shown.items()}
    dataset = workdir.test(study.source)
    moved = [
        row
        for detector, (ft2d, guided) in pairs.items()
        for row in moved_joints(outcomes[ft2d.id], outcomes[guided.id], DETECTOR_TITLES[detector])
    ]
    truth = outcomes.get(study.truth().id)
    return {
        "schema": 1,
        "title": f"Tables of the paper, {study.scale.name} scale",
        "data": [study.data for study in plan.studies[0]],
        "scale": study.scale.name,
        "seeds": [study.seed for study in first],
        "same_data": _same_data(plan),
        "protocol": _protocol(study, dataset, workdir),
        "intervals": f"{_INTERVALS[min(len(first), 2)]} {_TESTS}",
        "tables": _tables(plan, outcomes),
        "findings": check_findings(first, outcomes),
        "per_joint": _per_joint(shown, outcomes, dataset.skeleton),
        "per_action": _per_action(shown, outcomes, dataset.labels, study.actions),
        "moved": moved,
        "runs": [_describe_run(run, workdir) for run in runs if run.recipe],
        "poses": gallery.pose_samples(pairs, outcomes, dataset),
        "figures": gallery.draw_figures(pairs, outcomes, truth, dataset, workdir, folder, moved),
        "versions": versions() | source_revision(),
        "command": command,
    }


def _tables(plan: TablesPlan, outcomes: Outcomes) -> list[dict]:
    tables = {key: tabulate(TABLES[key], plan.studies, outcomes) for key in plan.tables}
    data = [study.data for study in plan.studies[0]]
    if "2" in tables and "panoptic" in data:  # the only one with published numbers of Panoptic
        names = dict.fromkeys("Panoptic" if one == "panoptic" else "Human3.6M" for one in data)
        tables["2"]["published_on"] = " and ".join(names)
    return list(tables.values())


def _same_data(plan: TablesPlan) -> bool:
    """Whether measured and published numbers may be subtracted.

    Table 2 has the published numbers of each data set, all others those of Human3.6M.
    """
    data = [study.data for study in plan.studies[0]]
    of_paper = data[0] == "human36m" or (data[0] == "panoptic" and plan.tables == ("2",))
    at_size = plan.studies[0][0].scale.name == "paper"
    return at_size and of_paper and {*data} <= {"human36m", "panoptic"}


# Charts: FT-2D beside multi-model guidance, or single-model where nothing else was run


def _guided_pairs(
    runs: Sequence[Run], studies: Sequence[Study]
) -> dict[str, list[tuple[Run, Run]]]:
    """By detector, (FT-2D, guided) of each seed, as far as they were run."""
    pairs = {}
    for detector in studies[0].detectors:
        multi = [(study.ft2d(detector), study.multi(detector)) for study in studies]
        single = [
            (study.ft2d(detector), study.single(detector, study.lifters[0])) for study in studies
        ]
        for found in (single, multi):
            if {run for pair in found for run in pair} <= {*runs}:
                pairs[detector] = found
    return pairs


def _series(shown: Mapping, outcomes: Outcomes) -> Iterator[tuple[dict, list[Outcome]]]:
    """The names of each detector and method, and the outcomes of all seeds."""
    for detector, pairs in shown.items():
        for same in zip(*pairs, strict=True):
            method = METHOD_TITLES[same[0].method]
            names = {"detector": DETECTOR_TITLES[detector], "method": method}
            yield names, [outcomes[run.id] for run in same]


def _per_joint(shown: Mapping, outcomes: Outcomes, skeleton) -> dict:
    series = [
        names
        | {"mm": _rounded(np.mean([_joint_mm(outcome) for outcome in found], axis=0))}
        | {"px": _rounded(np.mean([_joint_px(outcome) for outcome in found], axis=0))}
        for names, found in _series(shown, outcomes)
    ]
    return {"joints": list(skeleton.joints), "series": series}


def _joint_mm(outcome: Outcome) -> np.ndarray:
    """(K,) error of each joint, mean over lifters and samples."""
    return np.mean([outcome.joint_error_mm(name).mean(axis=0) for name in outcome.lifters], axis=0)


def _joint_px(outcome: Outcome) -> np.ndarray:
    """(K,) 2D error of each joint where it is visible."""
    visible_NK = outcome.visible_NK
    total = np.where(visible_NK, outcome.error_px_NK, 0).sum(axis=0)
    return total / np.maximum(visible_NK.sum(axis=0), 1)


def _per_action(shown: Mapping, outcomes: Outcomes, labels: Mapping, order: Sequence[str]) -> dict:
    there = np.unique(labels["action"]).tolist()
    actions = [action for action in order if action in there] or there
    series = []
    for names, found in _series(shown, outcomes):
        errors_mm_N = [np.mean([o.error_mm(n) for n in o.lifters], axis=0) for o in found]
        by_action = [
            np.mean([error_mm_N[labels["action"] == action].mean() for error_mm_N in errors_mm_N])
            for action in actions
        ]
        series.append(names | {"mm": _rounded(by_action)})
    return {"actions": actions, "series": series}


def _rounded(values) -> list[float]:
    return [round(float(value), 2) for value in values]


def _describe_run(run: Run, workdir: Workdir) -> dict:
    """What the report says of a run."""
    return {
        **{key: getattr(run, key) for key in ("id", "title", "kind", "method", "seed", "steps")},
        "detector": DETECTOR_TITLES.get(run.detector, ""),
        "seconds": workdir.seconds(run),
        "config": run.recipe,
        "curve": _curve(workdir.place(run) / "metrics.csv"),
        "parents": [parent.id for parent in run.parents],
    }


def _curve(path: epath.Path) -> dict:
    """Columns of metrics.csv."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    curve = {"step": [int(float(row["step"])) for row in rows]}
    for key in _CURVES:
        values = [row.get(key) for row in rows]
        if any(values):
            curve[key] = [finite(float(value)) if value else None for value in values]
    return curve


def _protocol(study: Study, dataset: PoseDataset, workdir: Workdir) -> list[str]:
    training = PoseDataset.open(workdir.data(study.source), "train")
    trained, tested = (", ".join(np.unique(d.labels["subject"])) for d in (training, dataset))
    steps = study.scale.length(study.source.samples)
    return [
        f"{study.data}: {len(dataset)} test samples of {tested}; {len(training)} training samples "
        f"of {trained}. FT-2D and every guided detector go on from the same first detector for "
        f"{steps} steps of {study.scale.batch_size} samples.",
        "MPJPE: mean over frames and joints, root-relative, without alignment. P-MPJPE: after "
        "similarity alignment of each pose. PCK@0.2: visible joints within 20 % of the box's "
        "longer side; PDJ@0.2: of the torso's diagonal.",
        "The last step of every run is measured; nothing is chosen on the test split.",
    ]


def _without_nan(value):
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
