"""The pictures of a report: figures, and the poses of its interactive view."""

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from etils import epath

from liftjax import geometry, viewer
from liftjax.data.records import PoseDataset
from liftjax.experiments.paper.execute import Workdir
from liftjax.experiments.paper.outcomes import Outcome
from liftjax.experiments.paper.report import explain, figures, maps
from liftjax.experiments.paper.runs import Run
from liftjax.experiments.paper.study import DETECTOR_TITLES

METHOD_TITLES = {"ft2d": "FT-2D", "single": "single-model", "multi": "multi-model"}
Pairs = Mapping[str, tuple[Run, Run]]  # by detector: FT-2D and guided
Outcomes = Mapping[str, Outcome]  # by run id

_SHOWN_POSES = 8  # in the interactive view
_QUALITATIVE = ("hrnet", "dwpose")  # the paper's Figure 1
_FAILING = "rtmpose"  # Figure 2
_MAPPED = "hrnet"


def _pair(detector: str, pairs: Pairs, outcomes: Outcomes) -> figures.Pair:
    ft2d, guided = pairs[detector]
    methods = METHOD_TITLES[ft2d.method], METHOD_TITLES[guided.method]
    return figures.Pair(DETECTOR_TITLES[detector], outcomes[ft2d.id], outcomes[guided.id], methods)


def draw(
    pairs: Pairs,
    outcomes: Outcomes,
    truth: Outcome | None,
    dataset: PoseDataset,
    workdir: Workdir,
    folder: epath.Path,
) -> list[dict]:
    """Draws every figure whose runs are there, as files in `folder`; what the report says of it."""
    found = []

    def add(key: str, title: str, suffix: str, function, *arguments) -> None:
        name = f"{key}.{suffix}"
        caption = function(folder / name, *arguments)
        found.append({"key": key, "title": title, "caption": caption, "file": name})

    if not pairs:
        return found
    lifter = next(iter(outcomes[next(iter(pairs.values()))[0].id].lifters))
    shown = [name for name in _QUALITATIVE if name in pairs] or list(pairs)
    of = {name: _pair(name, pairs, outcomes) for name in pairs}
    title = "Qualitative comparison"
    add("qualitative", title, "jpg", figures.qualitative, [of[n] for n in shown], dataset, lifter)
    failing = _FAILING if _FAILING in pairs else shown[0]
    if truth is not None:
        terms = _terms(pairs[failing][1], of[failing].guided, truth, dataset, workdir, lifter)
        title = "Failures"
        add("failures", title, "jpg", figures.failures, of[failing], dataset, lifter, terms)
    mapped = _MAPPED if _MAPPED in pairs else shown[0]
    samples = figures.by_improvement(of[mapped], lifter, (97, 5))
    before, after = (workdir.detector(run) for run in pairs[mapped])
    few = dataset.select(np.asarray(samples))
    arrays = tuple(maps.heatmaps(d, few, pairs[mapped][0].recipe["loss"]["beta"])
                   for d in (before, after))  # fmt: skip
    title, stride = "Heatmaps before and after", before.spec.stride
    add("heatmaps", title, "jpg", figures.heatmaps, of[mapped], dataset, samples, arrays, stride)
    add("moved", "What guidance moved", "png", figures.moved_figure, list(of.values()))
    return found


def _terms(run: Run, outcome, truth, dataset, workdir, lifter) -> Sequence[explain.Term]:
    """What may explain the failures of a detector."""
    detector, beta = workdir.detector(run), run.recipe["loss"]["beta"]
    contrast_N = explain.limb_contrast(dataset)
    peaks_NK = maps.peak_heights(detector, dataset, beta)
    return explain.explain(outcome, truth, lifter, contrast_N, peaks_NK)


def poses(pairs: Pairs, outcomes: Outcomes, dataset: PoseDataset) -> dict:
    """Samples from the most worsened to the most improved, for the interactive view."""
    skeleton = dataset.skeleton
    document = {"joints": list(skeleton.joints), "edges": [list(e) for e in skeleton.edges]}
    if not pairs:
        return document | {"samples": []}
    detector, runs = next(iter(pairs.items()))
    by_title = {METHOD_TITLES[run.method]: outcomes[run.id] for run in runs}
    before, after = by_title.values()
    lifter = before.lifters[0]
    chosen = _spread(before.error_mm(lifter) - after.error_mm(lifter), _SHOWN_POSES)
    title = f"{DETECTOR_TITLES[detector]}, lifted by {lifter}"
    samples = [_pose_sample(dataset, int(i), by_title, lifter, title) for i in chosen]
    return document | {"samples": samples}


def _spread(values_N: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` samples at even percentiles of their values."""
    places = np.linspace(0.03, 0.97, count) * (len(values_N) - 1)
    return np.argsort(values_N)[places.round().astype(int)]


def _pose_sample(
    dataset: PoseDataset, i: int, found: Mapping[str, Outcome], lifter: str, title: str
) -> dict:
    labels, image = dataset.labels, dataset.image(i)
    to_stored = geometry.invert_affine(labels["stored_to_image"][i])
    kpts = {"truth": labels["joints_px"][i]} | {n: o.kpts_px_NK2[i] for n, o in found.items()}
    poses = {"truth": labels["pose_m"][i]} | {n: o.pose_m(lifter)[i] for n, o in found.items()}
    return {
        "title": f"{labels['subject'][i]} {labels['action'][i]}, {title}",
        "image": "data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode(),
        "kpts": {
            name: np.round(geometry.apply_affine(to_stored, kpts_px_K2.astype(float)), 1).tolist()
            for name, kpts_px_K2 in kpts.items()
        },
        "poses": {name: np.round(pose.astype(float), 3).tolist() for name, pose in poses.items()},
        "mpjpe": {name: round(float(o.error_mm(lifter)[i]), 1) for name, o in found.items()},
        "up": viewer.up_in_camera(labels["camera_R"][i]),
    }


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
