"""The whole method at a small scale: data, lifters, detector, guidance, table, figure.

All methods start from one detector trained on 2D labels: FT-2D goes on with the 2D loss alone, the
guided ones with the 3D terms added, for the same number of steps.
"""

import dataclasses
import json
import time

import numpy as np
from etils import epath

from liftjax import evaluation, geometry, metrics, visualize
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from liftjax.experiments.small import (
    BASE_SETTINGS,
    DETECTOR_SETTINGS,
    IMAGE_SIZE,
    LIFTER_SETTINGS,
    LIFTERS,
    STORED_SIZE,
)
from liftjax.prediction import detection_settings
from liftjax.recipes import load_recipe, set_value
from liftjax.runtime.checkpoints import load_lifters, load_model
from liftjax.runtime.run_directory import read_json
from liftjax.tables import text_table
from liftjax.training import run as training
from liftjax.writing import write_text

METHODS = {"ft2d": (), "single": ("simple_baseline",), "multi": tuple(LIFTERS)}
RECIPES = {"ft2d": "ft2d", "single": "single_model", "multi": "multi_model"}
TITLES = {"gt": "GT 2D", "ft2d": "FT-2D", "single": "single-model (SB)", "multi": "multi-model"}
RESULTS = ("table.json", "table.md", "figure.png")
SHOWN_PERCENTILES = (5, 35, 65, 95)  # of the 3D improvement, in the figure


@dataclasses.dataclass(frozen=True)
class DemoScale:
    """How much of everything. The default ends in 10 minutes on two CPU cores."""

    train: int
    test: int
    poses: int
    detector: str
    lifter_steps: int
    base_steps: int
    guided_steps: int
    batch_size: int = 32


SCALES = {
    "tiny": DemoScale(96, 40, 400, "hrnet_tiny", 40, 20, 8, batch_size=8),
    "default": DemoScale(4000, 1000, 40_000, "hrnet_small", 2000, 900, 400),
    "large": DemoScale(16_000, 2000, 100_000, "hrnet_small", 8000, 6000, 2000),
}


def run_demo(
    workdir: str,
    *,
    data: str = "synthetic",
    scale: str = "default",
    seed: int = 0,
    steps: int | None = None,
) -> dict:
    """Runs the demo in `workdir`, resuming what is there; returns the contents of table.json.

    Each data set has a directory of its own in `workdir`; the results of this run are copied to
    `workdir` itself.

    Args:
      workdir: where data, runs and results go.
      data: "synthetic" people, or "multicam": the real recording, for which the detector and the
        lifters start from the synthetic ones.
      scale: one of SCALES.
      seed: of data, weights and order.
      steps: guided steps; default: the scale's.
    """
    begun = time.perf_counter()
    workdir, size = epath.Path(workdir), SCALES[scale]
    if seed < 0 or (steps is not None and steps < 1):
        raise LiftjaxError("--seed must be at least 0 and --steps at least 1.")
    if data == "multicam":
        import liftjax.data.video  # noqa: F401  (raises now if PyAV is missing)
    if steps is not None:
        size = dataclasses.replace(size, guided_steps=steps)
    _claim(workdir, {"scale": scale, "seed": seed, **dataclasses.asdict(size)})
    stage = Stage(workdir / "synthetic", "poses", seed, size)
    _make_data(stage, "synthetic")
    lifters = _train_lifters(stage, size.lifter_steps)
    _train_detector(stage, "base", "ft2d", size.base_steps, BASE_SETTINGS)
    if data == "multicam":
        stage, start = Stage(workdir / "multicam", "train", seed, size), stage
        _make_data(stage, "multicam")
        lifters = _train_lifters(stage, size.lifter_steps // 4, start.root / "lifters")
        first = {"detector.checkpoint": str(start.root / "base")}
        _train_detector(stage, "base", "ft2d", size.guided_steps, first)
    for method, names in METHODS.items():
        settings = {"detector.checkpoint": str(stage.root / "base")}
        settings |= {f"lifters.{name}": lifters[name] for name in names}
        _train_detector(stage, method, RECIPES[method], size.guided_steps, settings)
    table = _report(stage, lifters)
    for name in RESULTS:
        (stage.root / name).copy(workdir / name, overwrite=True)
    minutes = (time.perf_counter() - begun) / 60
    print(f"\n{(workdir / 'table.md').read_text()}")
    print(f"{minutes:.1f} minutes. Picture: {workdir / 'figure.png'}")
    return table


@dataclasses.dataclass(frozen=True)
class Stage:
    """The demo on one data set: its data, runs and results under `root`."""

    root: epath.Path
    lifter_split: str
    seed: int
    size: DemoScale

    @property
    def data(self) -> epath.Path:
        """The directory of the data set."""
        return self.root / "data"


def _claim(root: epath.Path, settings: dict) -> None:
    """Marks `root` as a demo of these settings; refuses one of other settings."""
    path = root / "demo.json"
    if path.exists() and read_json(path) != settings:
        raise LiftjaxError(
            f"{root} holds a demo of other settings ({path}); give a new --workdir, "
            "or the same --scale, --seed and --steps."
        )
    root.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(settings, indent=2))


def _make_data(stage: Stage, name: str) -> None:
    from data_prep.multicam.build import build_demo_recording
    from data_prep.synthetic.build import build_synthetic_people

    if stage.data.exists():
        return
    if name == "multicam":
        build_demo_recording(stage.data)
        return
    size = stage.size
    counts = {"num_train": size.train, "num_test": size.test, "num_poses": size.poses}
    build_synthetic_people(stage.data, seed=stage.seed, **counts, crop_size=STORED_SIZE)


def _train_lifters(stage: Stage, steps: int, start: epath.Path | None = None) -> dict[str, str]:
    """Trains the four lifters on ground-truth poses; their run directories by name."""
    runs = {}
    for name, own in LIFTERS.items():
        settings = {"lifter.name": name, "data.split": stage.lifter_split}
        if start is not None:
            settings["lifter.checkpoint"] = str(start / name)
        settings |= LIFTER_SETTINGS | own
        runs[name] = _train(stage, f"lifters/{name}", "lifter", steps, settings)
    return runs


def _train_detector(stage: Stage, name: str, recipe: str, steps: int, own: dict) -> None:
    settings = {"detector.name": stage.size.detector, "detector.image_size": IMAGE_SIZE}
    settings |= {"batch_size": stage.size.batch_size, **DETECTOR_SETTINGS, **own}
    _train(stage, name, recipe, steps, settings)


def _train(stage: Stage, name: str, recipe: str, steps: int, settings: dict) -> str:
    """Trains on one device, with a warm-up of at most half of the steps; the run directory."""
    config, workdir = load_recipe(recipe), str(stage.root / name)
    common = {"data.dir": str(stage.data), "seed": stage.seed, "num_devices": 1}
    common |= {"steps": steps, "checkpoint_every": steps}
    for key, value in (common | settings).items():
        set_value(config, key, value)
    config.optim.warmup_steps = min(config.optim.warmup_steps, steps // 2)
    training.train(config, workdir)
    return workdir


def _report(stage: Stage, lifter_runs: dict[str, str]) -> dict:
    """Evaluates every method on the test split; writes table.json, table.md and figure.png."""
    root, dataset = stage.root, PoseDataset.open(stage.data, "test")
    lifters = load_lifters(lifter_runs, dataset.skeleton.name)
    rows, keypoints, poses = {"gt": evaluation.evaluate(None, lifters, dataset)[0]}, {}, {}
    for method in METHODS:
        detector, meta = load_model(root / method, "detector")
        rows[method], keypoints[method], poses[method] = evaluation.evaluate(
            detector, lifters, dataset, **detection_settings(meta["recipe"])
        )
    table = {
        "rows": {
            name: {lifter: row["lifters"][lifter]["mpjpe"] for lifter in lifters}
            | {key: row[key] for key in ("mean", "pck")}
            for name, row in rows.items()
        },
        "seed": stage.seed,
        "steps": stage.size.guided_steps,
        "base_steps": stage.size.base_steps,
        "samples": len(dataset),
        "reports": rows,
    }
    write_text(root / "table.json", json.dumps(table, indent=2))
    write_text(root / "table.md", format_table(table, list(lifters)))
    _figure(root / "figure.png", dataset, keypoints, poses)
    return table


def format_table(table: dict, lifters: list[str]) -> str:
    """The demo's markdown table."""
    head = ["2D input", *lifters, "mean", "PCK@0.2"]
    body = []
    for name, row in table["rows"].items():
        errors = [f"{row[lifter]:.1f}" for lifter in [*lifters, "mean"]]
        body.append([TITLES[name], *errors, f"{row['pck']:.2f}"])
    caption = (
        f"MPJPE in mm over {table['samples']} test samples, by lifter, and PCK@0.2 in per cent; "
        f"seed {table['seed']}, {table['base_steps']} steps of 2D training, "
        f"then {table['steps']} steps of each method."
    )
    return f"{text_table(head, body)}\n\n{caption}"


def _figure(path, dataset, keypoints: dict, poses: dict) -> None:
    """FT-2D beside multi-model guidance, on samples from the most worsened to the most improved."""
    labels, shown = dataset.labels, ("ft2d", "multi")
    lifter = next(iter(LIFTERS))
    errors_N = {m: metrics.mpjpe(poses[m][lifter], labels["pose_m"]) for m in shown}
    order = np.argsort(errors_N["ft2d"] - errors_N["multi"])
    samples = []
    for percent in SHOWN_PERCENTILES:
        i = order[round(percent / 100 * (len(order) - 1))]
        to_stored = geometry.invert_affine(labels["stored_to_image"][i])

        def on_picture(kpts_px_K2, to_stored=to_stored):
            return geometry.apply_affine(to_stored, kpts_px_K2.astype(np.float64))

        samples.append(
            visualize.Comparison(
                title=f"{labels['subject'][i]} {labels['action'][i]}, percentile {percent}",
                image=dataset.image(i),
                true_kpts_K2=on_picture(labels["joints_px"][i]),
                true_pose_m_K3=labels["pose_m"][i],
                kpts_K2={TITLES[m]: on_picture(keypoints[m][i]) for m in shown},
                pose_m_K3={TITLES[m]: poses[m][lifter][i] for m in shown},
            )
        )
    caption = (
        f"ground truth blue, prediction red, lifted by {lifter}; test samples by percentile of\n"
        "the 3D improvement of multi-model guidance over FT-2D, from worsened to improved"
    )
    visualize.comparison_figure(path, samples, dataset.skeleton, caption)
