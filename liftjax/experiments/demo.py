"""The whole method at a small scale: data, lifters, detector, guidance, table, figure.

Everything starts from one detector trained on 2D labels; FT-2D goes on with the 2D loss alone,
the guided ones with the 3D terms added, for the same number of steps.
"""

import dataclasses
import json
import time

import numpy as np
from etils import epath
from ml_collections import ConfigDict

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
class Scale:
    """How much of everything; chosen so that the default ends in 10 minutes on two CPU cores."""

    train: int
    test: int
    poses: int
    detector: str
    lifter_steps: int
    base_steps: int
    guided_steps: int
    batch_size: int = 32


SCALES = {
    "tiny": Scale(96, 40, 400, "hrnet_tiny", 40, 20, 8, batch_size=8),
    "default": Scale(4000, 1000, 40_000, "hrnet_small", 2000, 900, 400),
    "large": Scale(16_000, 2000, 100_000, "hrnet_small", 8000, 6000, 2000),
}


def run(
    workdir: str,
    *,
    data: str = "synthetic",
    scale: str = "default",
    seed: int = 0,
    steps: int | None = None,
) -> dict:
    """Runs the demo in `workdir`, resuming what is there; returns the contents of table.json.

    Each data set has a directory of its own in `workdir`; the results of this run lie on top.

    Args:
      data: "synthetic" people, or "multicam": the real recording, for which the detector and the
        lifters start from the synthetic ones.
      scale: one of SCALES. seed: of data, weights and order.
      steps: guided steps, instead of the scale's.
    """
    begun = time.perf_counter()
    workdir, size = epath.Path(workdir), SCALES[scale]
    if seed < 0 or (steps is not None and steps < 1):
        raise LiftjaxError("--seed is at least 0 and --steps at least 1.")
    if data == "multicam":
        import liftjax.data.video  # noqa: F401  (raises now if PyAV is missing)
    if steps is not None:
        size = dataclasses.replace(size, guided_steps=steps)
    _claim(workdir, {"scale": scale, "seed": seed, **dataclasses.asdict(size)})
    stage = Stage(workdir / "synthetic", "poses", seed, size)
    _synthetic_data(stage)
    lifters = _train_lifters(stage, size.lifter_steps)
    _train_detector(stage, "base", "ft2d", size.base_steps, BASE_SETTINGS)
    if data == "multicam":
        stage, start = Stage(workdir / "multicam", "train", seed, size), stage
        _recording(stage)
        lifters = _train_lifters(stage, size.lifter_steps // 4, start.root / "lifters")
        first = {"detector.checkpoint": str(start.root / "base")}
        _train_detector(stage, "base", "ft2d", size.guided_steps, first)
    for method, names in METHODS.items():
        overrides = {"detector.checkpoint": str(stage.root / "base")}
        overrides |= {f"lifters.{name}": lifters[name] for name in names}
        _train_detector(stage, method, RECIPES[method], size.guided_steps, overrides)
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
    size: Scale

    @property
    def data(self) -> epath.Path:
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


def _synthetic_data(stage: Stage) -> None:
    from data_prep.synthetic import build

    if not stage.data.exists():
        build.build(
            stage.data,
            seed=stage.seed,
            num_train=stage.size.train,
            num_test=stage.size.test,
            num_poses=stage.size.poses,
            crop_size=STORED_SIZE,
        )


def _recording(stage: Stage) -> None:
    from data_prep.multicam import build

    if not stage.data.exists():
        build.build_demo_recording(stage.data)


def _train_lifters(stage: Stage, steps: int, start: epath.Path | None = None) -> dict[str, str]:
    """Trains the four lifters on ground-truth poses; their run directories by name."""
    runs = {}
    for name, overrides in LIFTERS.items():
        config = load_recipe("lifter")
        config.data.dir, config.data.split = str(stage.data), stage.lifter_split
        config.seed, config.steps, config.checkpoint_every = stage.seed, steps, steps
        config.lifter.name = name
        if start is not None:
            config.lifter.checkpoint = str(start / name)
        for key, value in (LIFTER_SETTINGS | overrides).items():
            set_value(config, key, value)
        _fit(config)
        runs[name] = str(stage.root / "lifters" / name)
        training.run(config, runs[name])
    return runs


def _train_detector(stage: Stage, name: str, recipe: str, steps: int, overrides: dict) -> None:
    config = load_recipe(recipe)
    config.data.dir, config.seed, config.steps = str(stage.data), stage.seed, steps
    config.batch_size, config.checkpoint_every = stage.size.batch_size, steps
    config.detector.name, config.detector.image_size = stage.size.detector, IMAGE_SIZE
    for key, value in (DETECTOR_SETTINGS | overrides).items():
        set_value(config, key, value)
    _fit(config)
    training.run(config, str(stage.root / name))


def _fit(config: ConfigDict) -> None:
    """Fits a recipe to small runs: one device, a warm-up of half of the steps at most."""
    config.num_devices = 1
    config.optim.warmup_steps = min(config.optim.warmup_steps, config.steps // 2)


def _report(stage: Stage, lifter_runs: dict[str, str]) -> dict:
    """Evaluates every method on the test split; writes table.json, table.md and figure.png."""
    root, dataset = stage.root, PoseDataset.open(stage.data, "test")
    lifters = load_lifters(lifter_runs, dataset.skeleton.name)
    rows, keypoints, poses = {"gt": evaluation.evaluate(None, lifters, dataset)[0]}, {}, {}
    for method in METHODS:
        detector, _ = load_model(root / method, "detector")
        rows[method], keypoints[method], poses[method] = evaluation.evaluate(
            detector, lifters, dataset, beta=DETECTOR_SETTINGS["loss.beta"]
        )
    table = {
        "rows": {
            name: {
                **{lifter: row["lifters"][lifter]["mpjpe"] for lifter in lifters},
                "mean": row["mean"],
                "pck": row["pck"],
            }
            for name, row in rows.items()
        },
        "seed": stage.seed,
        "steps": stage.size.guided_steps,
        "base_steps": stage.size.base_steps,
        "samples": len(dataset),
        "reports": rows,
    }
    (root / "table.json").write_text(json.dumps(table, indent=2) + "\n")
    (root / "table.md").write_text(format_table(table, list(lifters)) + "\n")
    _figure(root / "figure.png", dataset, keypoints, poses)
    return table


def format_table(table: dict, lifters: list[str]) -> str:
    """The demo's markdown table."""
    head = ["2D input", *lifters, "mean", "PCK@0.2"]
    body = [
        [
            TITLES[name],
            *(f"{row[lifter]:.1f}" for lifter in [*lifters, "mean"]),
            f"{row['pck']:.2f}",
        ]
        for name, row in table["rows"].items()
    ]
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
