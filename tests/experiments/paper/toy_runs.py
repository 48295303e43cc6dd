"""Training, networks and pictures that are none, for what the tables' command does around them.

What a toy gives is a function of the name of its run directory, so that the same run has the same
outcome wherever and however often it is begun. Training goes on from the step that it has saved,
and leaves what the report reads. Every start, step and measurement is written down in LOG, if the
environment names a file.
"""

import json
import os
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import data_prep.synthetic.build
import liftjax.training.run
from data_prep.building import write_dataset
from liftjax.experiments.paper import execute
from tests.data.builders import make_record

LOG, PAUSE_S = "TOY_LOG", "TOY_PAUSE_S"
SAVED, STEPS = "saved.txt", 10
OWN_FILES = (SAVED, "metrics.csv", "config.json", "toy.json")  # of a run directory


def install(replace=setattr) -> None:
    """Puts toys in the place of training and networks, by `replace(module, name, toy)`."""
    replace(liftjax.training.run, "train", train)
    replace(execute, "load_model", load_model)
    replace(execute, "load_lifters", load_lifters)
    replace(execute, "predict_2d", predict_2d)
    replace(execute, "lift_found", lift_found)


def install_data_and_pictures(replace=setattr) -> None:
    """Toys for all that takes its time before and after training: data, figures, the page."""
    from liftjax.experiments.paper.report import gallery, html

    replace(data_prep.synthetic.build, "build_synthetic_people", build)
    replace(gallery, "draw_figures", lambda *arguments: [])
    replace(html, "write_page", lambda report, folder: folder / "report.html")


def note(*words) -> None:
    """A line for the log; small ones are appended whole."""
    if os.environ.get(LOG):
        with open(os.environ[LOG], "a") as file:
            file.write(" ".join(map(str, words)) + "\n")


def pause() -> None:
    time.sleep(float(os.environ.get(PAUSE_S, 0)) / STEPS)


def number(text: str) -> int:
    return zlib.crc32(text.encode())


def train(config, workdir) -> None:
    """As `liftjax.training.run.train`, ten steps whatever the recipe says."""
    folder = Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    needed = [config.detector.checkpoint, config.distill.teacher, config.lifter.checkpoint]
    for place in filter(None, [*needed, *config.lifters.values()]):
        assert (Path(place) / "toy.json").exists(), place
    assert Path(config.data.dir).is_dir()
    saved, metrics = folder / SAVED, folder / "metrics.csv"
    begun = len(saved.read_text()) if saved.exists() else 0
    note("start", folder.name, begun, (folder / "done.json").exists())
    rng = np.random.default_rng(number(folder.name))
    losses = np.sort(rng.uniform(0.1, 1, STEPS))[::-1]
    for step in range(begun, STEPS):
        pause()
        note("step", folder.name, step)
        rows = "".join(f"{i + 1},{losses[i]:.4f}\n" for i in range(step + 1))
        metrics.write_text("step,loss\n" + rows)
        with saved.open("a") as file:
            file.write(".")
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "toy.json").write_text(json.dumps({"number": number(folder.name)}))


def load(place) -> SimpleNamespace:
    toy = json.loads((Path(place) / "toy.json").read_text())
    return SimpleNamespace(**toy, spec=SimpleNamespace(stride=4))


def load_model(place, kind):
    assert kind == "detector"
    return load(place), None


def load_lifters(places, skeleton, form=None):
    return {name: load(place) for name, place in places.items()}


def predict_2d(detector, dataset, **settings):
    """Joints some pixels away from the labels."""
    pause()
    note("measure", detector.number)
    rng = np.random.default_rng([detector.number, int(settings["decoding"].beta)])
    true_px_NK2 = dataset.labels["joints_px"]
    return true_px_NK2 + rng.normal(0, rng.uniform(1, 9), true_px_NK2.shape)


def lift_found(lifter, dataset):
    """A flat pose of about a person's size."""
    kpts_px_NK2 = dataset.labels["joints_px"]
    rng = np.random.default_rng(lifter.number)
    root_px_N12 = kpts_px_NK2[:, :1]
    flat_m_NK2 = (kpts_px_NK2 - root_px_N12) / rng.uniform(100, 200)
    return np.concatenate([flat_m_NK2, 0.1 * flat_m_NK2.sum(axis=-1, keepdims=True)], axis=-1)


def build(place, **settings):
    """A few records in every split, whatever is asked for."""
    records = [make_record(i, has_3d=True) for i in range(8)]
    write_dataset(place, "toy", dict.fromkeys(("train", "poses", "test"), records), settings)
