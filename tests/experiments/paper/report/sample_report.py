"""A small but complete report: every key that the command writes, with invented numbers.

Names are as a reader sees them ("HRNet", "multi-model"). Some texts hold what must be escaped in
HTML, LaTeX and markdown.
"""

import base64

import cv2
import numpy as np

from liftjax.skeletons import HUMAN36M

DETECTORS = ("HRNet", "RTMPose")
METHODS = ("FT-2D", "multi-model")
LIFTERS = ("SB", "IGANet")
ACTIONS = ("Directions", "Eating", "Walking")
HEADS = ("Dir.", "Eat", "Walk")
BETAS = (1, 10, 100)
STEPS = range(0, 300, 20)
HOSTILE = '</script><b title="x">50 % & $_{#}~^\\'  # belongs to a run's config

# Metres, camera axes (x right, y down, z away), in the order of HUMAN36M.joints.
_STANDING_M = np.array([
    [0, 0, 0], [-.12, 0, .01], [-.13, .44, .03], [-.14, .86, .1], [.12, 0, -.01], [.15, .43, -.06],
    [.17, .86, 0], [0, -.24, .01], [0, -.48, 0], [.01, -.57, -.07], [0, -.68, -.02],
    [.16, -.46, .01], [.3, -.25, -.05], [.36, -.05, -.2], [-.16, -.46, 0], [-.3, -.3, .08],
    [-.34, -.52, -.05],
])  # fmt: skip


def _cell(value, *, runs, better="lower", published=None, best=False, p=None, seeds=2, half=0.8):
    """A cell whose seeds and interval lie around `value`."""
    values = [round(value + 0.3 * (i - (seeds - 1) / 2), 3) for i in range(seeds)]
    return {
        "value": round(value, 3), "low": round(value - half, 3), "high": round(value + half, 3),
        "seeds": values, "published": published, "best": best, "p": p, "runs": list(runs),
    }  # fmt: skip


def _run_id(detector: str, method: str, seed: int) -> str:
    return f"{detector[:2]}{method[0]}{seed}e5a1".lower()


def _column(key, title, unit="mm", better="lower", digits=1, extra=False):
    return {"key": key, "title": title, "unit": unit, "better": better, "digits": digits,
            "extra": extra}  # fmt: skip


def _table_1(ids) -> dict:
    columns = [_column(a, h) for a, h in zip(ACTIONS, HEADS, strict=True)]
    columns += [_column("Avg.", "Avg."), _column("p_mpjpe", "P-MPJPE", extra=True)]
    rows = []
    for d, detector in enumerate(DETECTORS):
        for m, method in enumerate(METHODS):
            for k, lifter in enumerate(LIFTERS):
                base = 58.0 - 2 * d + 1.3 * k - 2.4 * m
                cells = [
                    _cell(base + 3.7 * c, runs=ids(detector, method), best=m == 1,
                          published=round(base + 3.5 * c - 1, 1) if c < 4 else None,
                          p=0.003 if m else None)
                    for c in range(len(columns))
                ]  # fmt: skip
                if (d, k, m) == (1, 1, 1):
                    cells[1] = None  # no sample of this action
                label = f"{detector} ({'Ours' if m else method})"
                rows.append({"labels": [label, lifter], "group": f"{detector} {lifter}",
                             "cells": cells})  # fmt: skip
    return {
        "key": "1", "title": "Single-model guidance, by action",
        "caption": "MPJPE (mm) of each action, and over all test frames (Avg.).",
        "notes": ["Avg. is over test frames, not over actions."],
        "row_heads": ["2D input", "LiftNet"], "columns": columns, "rows": rows,
    }  # fmt: skip


def _table_2(ids) -> dict:
    columns = [_column("pck", "PCK@0.2", "%", "higher", 2), _column("mpjpe", "MPJPE", digits=2),
               _column("pdj", "PDJ@0.2", "%", "higher", 2, extra=True)]  # fmt: skip
    rows = [
        {"labels": [detector, method if m == 0 else "Ours"], "group": detector,
         "cells": [
             _cell(94.9 + 0.1 * m, runs=ids(detector, method), published=94.93, best=m == 1,
                   p=0.41 if m else None, half=0.2),
             _cell(56.1 - 2.2 * m - d, runs=ids(detector, method), published=56.13 - 1.6 * m,
                   best=m == 1, p=0.0004 if m else None),
             _cell(81.0 - 0.3 * m, runs=ids(detector, method), best=m == 0, half=0.5),
         ]}
        for d, detector in enumerate(DETECTORS)
        for m, method in enumerate(METHODS)
    ]  # fmt: skip
    return {
        "key": "2", "title": "Multi-model guidance",
        "caption": "Share of correct keypoints and MPJPE, mean over the lifters.",
        "notes": [], "row_heads": ["2D Detector", "Method"], "columns": columns, "rows": rows,
    }  # fmt: skip


def _table_6(ids) -> dict:
    measured, published = (312.5, 57.9, 55.0), (319.41, 54.13, 52.85)
    cells = [
        _cell(value, runs=ids("HRNet", "multi-model"), best=value == min(measured), published=there)
        for value, there in zip(measured, published, strict=True)
    ]
    return {
        "key": "6", "title": "Scale β of the soft-argmax", "caption": "MPJPE of HRNet and SB.",
        "notes": ["β & its range: 1 < β < 500."], "row_heads": ["β"],
        "columns": [_column(str(beta), str(beta), digits=2) for beta in BETAS],
        "rows": [{"labels": ["MPJPE"], "group": "β", "cells": cells}],
    }  # fmt: skip


def _findings() -> list[dict]:
    def part(what, difference, half, verdict, unit="mm", p=0.01):
        return {"what": what, "difference": difference, "low": difference - half,
                "high": difference + half, "p": p, "unit": unit, "over": "seeds",
                "verdict": verdict}  # fmt: skip

    return [
        {"key": "guided_below_ft2d", "claim": "Guided training lowers MPJPE", "verdict": "true",
         "parts": [part("HRNet, multi-model against FT-2D", -2.2, 0.7, "true"),
                   part("RTMPose, multi-model against FT-2D", -3.1, 1.0, "true", p=0.0002)]},
        {"key": "softmax_not_worse", "claim": "Softmax is at least as good as ReLU",
         "verdict": "undecided", "parts": [part("softmax against ReLU", -0.4, 1.1, "undecided",
                                                p=0.44)]},
        {"key": "pck_unchanged", "claim": "PCK changes by less than 1 point", "verdict": "false",
         "parts": [part("HRNet, multi-model against FT-2D", 2.6, 0.4, "false", "%", 0.001)]},
    ]  # fmt: skip


def _runs(seeds) -> list[dict]:
    steps = np.array(STEPS)
    lifter_steps = steps * 10
    runs = [
        {"id": f"sb{seed}", "title": "lifter SB", "kind": "lifter", "method": "", "detector": "",
         "seed": seed, "steps": 3000, "seconds": 21.5,
         "config": {"lifter": {"name": "simple_baseline"}, "optim": {"learning_rate": 2e-5}},
         "curve": {"step": lifter_steps.tolist(), "loss": (9 / (steps + 50)).round(4).tolist()},
         "parents": []}
        for seed in seeds
    ]  # fmt: skip
    for detector in DETECTORS:
        for m, method in enumerate(METHODS):
            for seed in seeds:
                loss = 0.4 + 0.2 * m + 2 * np.exp(-steps / 90) + 0.02 * np.cos(steps / 15 + seed)
                runs.append({
                    "id": _run_id(detector, method, seed),
                    "title": f"{detector} {method}, seed {seed}", "kind": "detector",
                    "method": method, "detector": detector, "seed": seed,
                    "steps": 300, "seconds": 71.25 + 30 * m,
                    "config": {"detector": {"name": detector.lower(), "image_size": [128, 96]},
                               "loss": {"beta": 100.0, "l_2d": 0.5}, "note": HOSTILE,
                               "seed": seed, "lifters": {"simple_baseline": f"run:sb{seed}"}},
                    "curve": {"step": steps.tolist(), "loss": loss.round(4).tolist(),
                              "loss_2d": (loss / 3).round(4).tolist(),
                              "grad_ratio": (m * np.exp(steps / 300)).round(3).tolist()},
                    "parents": [_run_id(detector, "FT-2D", seed)] if m else [],
                })  # fmt: skip
    return runs


def tiny_jpeg(seed: int = 0, height: int = 96, width: int = 72) -> bytes:
    """A blurred random picture."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes()


def write_figures(report: dict, folder) -> None:
    """Puts a tiny picture into `folder` for every figure of the report."""
    for figure in report["figures"]:
        (folder / figure["file"]).write_bytes(tiny_jpeg(7))


def _poses() -> dict:
    rng = np.random.default_rng(0)
    samples = []
    for i in range(2):
        turn = 0.8 * i
        across = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0],
                           [-np.sin(turn), 0, np.cos(turn)]])  # fmt: skip
        pose = _STANDING_M @ across.T
        kpts = pose[:, :2] * 48 + [36, 40]
        sample = {"title": f"S9, {ACTIONS[i]}, camera {i}",
                  "image": "data:image/jpeg;base64," + base64.b64encode(tiny_jpeg(i)).decode(),
                  "kpts": {"truth": kpts.round(1).tolist()},
                  "poses": {"truth": pose.round(3).tolist()}, "mpjpe": {}}  # fmt: skip
        for method, noise_m in zip(METHODS, (0.06, 0.03), strict=True):
            moved = pose + rng.normal(0, noise_m, pose.shape)
            seen = kpts + rng.normal(0, 20 * noise_m, kpts.shape)
            error = 1000 * np.linalg.norm(moved - pose, axis=-1).mean()
            sample["kpts"][method] = seen.round(1).tolist()
            sample["poses"][method] = moved.round(3).tolist()
            sample["mpjpe"][method] = round(float(error), 1)
        samples.append(sample)
    return {"joints": list(HUMAN36M.joints), "edges": [list(e) for e in HUMAN36M.edges],
            "samples": samples}  # fmt: skip


def sample_report(same_data: bool = False, seeds=(0, 1)) -> dict:
    """The report as `report.json` holds it; `same_data` as when measured on the paper's data.

    The pictures of its figures are files beside it: `write_figures`.
    """

    def ids(detector, method):
        return [_run_id(detector, method, seed) for seed in seeds]

    rng = np.random.default_rng(1)
    joints = HUMAN36M.num_joints
    names = [(d, m) for d in DETECTORS for m in METHODS]
    return {
        "schema": 1, "title": "The paper's tables on synthetic people",
        "data": ["synthetic"], "scale": "paper" if same_data else "small", "seeds": list(seeds),
        "protocol": ["Every method starts from the same detector and takes as many steps.",
                     "Test subjects S9 & S11 were never used to choose anything."],
        "intervals": "95 % intervals: Student's t over 2 seeds.",
        "tables": [_table_1(ids), _table_2(ids), _table_6(ids)], "same_data": same_data,
        "findings": _findings(),
        "per_joint": {"joints": list(HUMAN36M.joints),
                      "series": [{"detector": d, "method": m,
                                  "mm": rng.uniform(20, 90, joints).round(2).tolist(),
                                  "px": rng.uniform(2, 9, joints).round(2).tolist()}
                                 for d, m in names]},
        "per_action": {"actions": list(ACTIONS),
                       "series": [{"detector": d, "method": m,
                                   "mm": rng.uniform(45, 80, len(ACTIONS)).round(2).tolist()}
                                  for d, m in names]},
        "moved": [{"detector": d, "joint": j, "displacement_px": round(rng.uniform(0.3, 4), 2),
                   "gain_mm": round(g := rng.normal(2, 2), 2), "low": round(g - 1.5, 2),
                   "high": round(g + 1.5, 2)} for d in DETECTORS for j in HUMAN36M.joints],
        "runs": _runs(seeds), "poses": _poses(),
        "figures": [{"key": "qualitative", "title": "FT-2D against guided",
                     "caption": "Ground truth blue, prediction red.", "file": "qualitative.jpg"}],
        "versions": {"python": "3.11.2", "jax": "0.10.2", "liftjax": "0.1.0"},
        "command": "python -m liftjax tables all --data synthetic --scale small",
    }  # fmt: skip
