"""Errors of a detector, in 2D and through lifters in 3D, and of a lifter alone.

Legend: N samples, B batch, K joints. Arrays are in metres and in pixels of the original image;
reports are in millimetres and per cent.
"""

import json
from collections.abc import Mapping

import numpy as np
from etils import epath
from flax import nnx
from ml_collections import ConfigDict

from liftjax import metrics
from liftjax.data import windows
from liftjax.data.records import PoseDataset, read_metadata
from liftjax.data.schema import known_joints
from liftjax.errors import LiftjaxError
from liftjax.hosts import check_same, is_first
from liftjax.lifters.spec import Lifter
from liftjax.prediction import (
    check_video,
    detection_settings,
    frames_seen,
    lift_dataset,
    lift_found,
    predict_scored,
    sliding_form,
    window_of_one_pose,
)
from liftjax.runtime.checkpoints import (
    BEST,
    LAST,
    check_lifter,
    find_checkpoint,
    load_lifters,
    load_model,
    read_meta,
)
from liftjax.runtime.replicas import Replicas
from liftjax.runtime.scores import Scores
from liftjax.tables import text_table


def report(
    labels: Mapping[str, np.ndarray],
    skeleton: str,
    kpts_px_NK2: np.ndarray,
    poses_m: Mapping[str, np.ndarray],
) -> dict:
    """The errors of one detector's keypoints, and of the 3D poses lifted from them.

    Args:
      labels: see `PoseDataset.labels`. Records without 3D labels count in 2D only.
      skeleton: the joint set.
      kpts_px_NK2: the detector's keypoints in pixels.
      poses_m: the lifted poses (N, K, 3) by lifter.

    Returns:
      {"samples", "pck", "pdj" (per cent; None if no torso is known), "mean" (mm over lifters),
      "lifters": {name: {"mpjpe", "p_mpjpe" (mm, means over frames), "per_action": {action: mm}}}}
    """
    visible_NK = labels["joint_visible"].astype(bool)
    true_px_NK2, has_3d_N = labels["joints_px"], labels["has_3d"].astype(bool)
    true_m_NK3, actions_N = labels["pose_m"][has_3d_N], labels["action"][has_3d_N]
    by_box_NK = metrics.correct_by_box(kpts_px_NK2, true_px_NK2, labels["box_xyxy"], visible_NK)
    torso = {"visible": visible_NK, "known": known_joints(labels)}
    by_torso_NK = metrics.correct_by_torso(kpts_px_NK2, true_px_NK2, skeleton, **torso)
    counted_NK = metrics.counted_by_torso(true_px_NK2, skeleton, **torso)
    lifters = {}
    for name, pose_m_NK3 in poses_m.items():
        error_mm_N = 1000 * np.asarray(metrics.mpjpe(pose_m_NK3[has_3d_N], true_m_NK3))
        aligned_mm_N = 1000 * np.asarray(metrics.p_mpjpe(pose_m_NK3[has_3d_N], true_m_NK3))
        lifters[name] = {
            "mpjpe": float(error_mm_N.mean()),
            "p_mpjpe": float(aligned_mm_N.mean()),
            "per_action": metrics.per_action(error_mm_N, actions_N),
        }
    return {
        "samples": len(kpts_px_NK2),
        "pck": 100 * float(metrics.share(by_box_NK, visible_NK, axis=None)),
        "pdj": 100 * float(metrics.share(by_torso_NK, counted_NK, axis=None))
        if counted_NK.any()
        else None,
        "mean": float(np.mean([row["mpjpe"] for row in lifters.values()])) if lifters else None,
        "lifters": lifters,
    }


def lifters_for(config: ConfigDict, dataset: PoseDataset) -> dict[str, nnx.Module]:
    """The recipe's lifters; none if the data have no 3D poses to compare with."""
    if not dataset.labels["has_3d"].any():
        return {}
    return load_lifters(config.lifters.to_dict(), dataset.skeleton.name, sliding_form)


def evaluate(
    detector: nnx.Module | None,
    lifters: Mapping[str, nnx.Module],
    dataset: PoseDataset,
    *,
    stride: int = 1,
    replicas: Replicas | None = None,
    **detection,
) -> tuple[dict, np.ndarray, dict[str, np.ndarray]]:
    """The report, and the keypoints and the lifted poses of the samples in it.

    The report is that of :func:`report`, with the keypoints' mean "score" (None without detector).

    Args:
      detector: the network; None takes the ground-truth 2D poses.
      lifters: by name. Those of several frames see the records around a sample.
      dataset: the records.
      stride: every `stride`-th frame of a recording is a sample.
      replicas: the devices; all by default.
      **detection: further arguments of :func:`predict_scored`.
    """
    replicas = replicas or Replicas.create()
    skeleton, samples = dataset.skeleton.name, np.flatnonzero(dataset.every(stride))
    several = [lifter for lifter in lifters.values() if lifter.spec.receptive_field > 1]
    cuts = []
    if several:
        check_video(dataset, lifters)
        clips = windows.find_clips(dataset.labels, dataset.part)
        cuts = [window_of_one_pose(lifter, clips) for lifter in several]
    else:
        dataset, samples = dataset.select(samples), np.arange(len(samples))
    found_px_NK2, score = dataset.labels["joints_px"], None
    if detector is not None:
        if detector.spec.skeleton != skeleton:
            raise LiftjaxError(
                f"The detector finds {detector.spec.skeleton or 'unnamed'} joints, "
                f"{dataset.directory} has {skeleton} poses; use a detector of that joint set."
            )
        seen = frames_seen(cuts, samples, len(dataset))
        pictures = dataset.select(seen).with_pictures()
        kpts, scores = predict_scored(detector, pictures, replicas=replicas, **detection)
        found_px_NK2 = np.zeros((len(dataset), *kpts.shape[1:]), np.float32)
        scores_NK = np.zeros(found_px_NK2.shape[:2], np.float32)
        found_px_NK2[seen], scores_NK[seen] = kpts, scores
        score = float(scores_NK[samples].mean(dtype=np.float64))
    every_frame = dataset.with_keypoints(found_px_NK2)
    sampled = every_frame.select(samples)
    kpts_px_SK2, poses = sampled.labels["joints_px"], {}
    for name, lifter in lifters.items():
        alone = lifter.spec.receptive_field == 1
        lifted = lift_found(lifter, sampled if alone else every_frame, replicas)
        poses[name] = lifted if alone else lifted[samples]
    found = report(dataset.select(samples).labels, skeleton, kpts_px_SK2, poses)
    return found | {"score": score}, kpts_px_SK2, poses


def evaluate_run(config: ConfigDict, workdir: str, step: str = LAST, write: bool = True) -> dict:
    """The command `evaluate`: evaluates a run's network on the recipe's evaluation split.

    Prints the tables and writes them to WORKDIR/evaluation.json.

    Args:
      config: the recipe.
      workdir: the run directory of a detector or a lifter.
      step: which checkpoint, see `checkpoints.find_checkpoint`.
      write: whether to write the file.

    Raises:
      LiftjaxError: network, lifters and data do not fit together, or the file cannot be written
        (after the tables are printed).
    """
    check_same("recipe", json.dumps(config.to_dict(), sort_keys=True))
    checkpoint = find_checkpoint(workdir, step)
    meta = read_meta(checkpoint)
    dataset = PoseDataset.open(config.data.dir, config.data.eval_split)
    dataset = dataset.where(subjects=config.data.eval_subjects or None)
    evaluated = _run_lifter if meta["model"]["kind"] == "lifter" else _run_detector
    replicas = Replicas.create(config.replicate, config.num_devices)
    rows, text = evaluated(config, checkpoint, dataset, replicas)
    if step == BEST:
        text += f"\n\nStep {meta['step']}, chosen by {Scores(workdir).title}."
    if is_first():
        print(text, flush=True)
        if write:
            _write(epath.Path(workdir) / "evaluation.json", {"rows": rows, "step": meta["step"]})
    return rows


def _write(path: epath.Path, document: dict) -> None:
    try:
        path.write_text(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise LiftjaxError(
            f"Could not write {path}: {error.strerror or error}; the tables above are whole. For "
            "the file make the run directory writable, or evaluate a copy of it."
        ) from error


def _run_detector(config, checkpoint, dataset: PoseDataset, replicas: Replicas) -> tuple[dict, str]:
    """Reports of the detector and of ground-truth 2D, and their text."""
    detector, meta = load_model(checkpoint, "detector")
    lifters = lifters_for(config, dataset)
    options = {
        "replicas": replicas,
        "batch_size": config.data.eval_batch_size,
        **detection_settings(config),
    }
    stride = config.data.eval_stride
    rows = {
        "gt": evaluate(None, lifters, dataset, stride=stride, replicas=replicas)[0],
        meta["model"]["name"]: evaluate(detector, lifters, dataset, stride=stride, **options)[0],
    }
    text = format_report(rows, _protocol(config, dataset.select(dataset.every(stride)), lifters))
    if not lifters:
        missing = "No lifters named (--config.lifters.NAME=RUN_DIRECTORY)"
        if len(config.lifters):
            missing = f"{config.data.dir}: split {dataset.split} has no 3D poses"
        text += f"\n\n{missing}: 2D measures only."
    return rows, text


def _run_lifter(config, checkpoint, dataset: PoseDataset, replicas: Replicas) -> tuple[dict, str]:
    """Report of the lifter on the data set's own 2D poses, and its text."""
    lifter, meta = load_model(checkpoint, "lifter", sliding_form)
    check_lifter(lifter, dataset.skeleton.name, f"The lifter in {checkpoint}", config.data.dir)
    dataset = dataset.select(dataset.labels["has_3d"])
    if not len(dataset):
        raise LiftjaxError(f"{config.data.dir}: split {dataset.split} has no 3D poses.")
    flip = config.lifter.get("flip_test", False)
    samples_N = dataset.every(config.data.eval_stride)
    pose_m_NK3 = lift_dataset(lifter, dataset, flip, replicas)
    dataset = dataset.select(samples_N)
    rows = {meta["model"]["name"]: lifter_report(pose_m_NK3[samples_N], dataset.labels)}
    return rows, format_lifter_report(rows, _lifter_protocol(config, dataset, lifter, flip))


def lifter_report(pose_m_NK3: np.ndarray, labels: Mapping[str, np.ndarray]) -> dict:
    """MPJPE and P-MPJPE in mm: {"samples", "mpjpe": errors, "p_mpjpe": errors}.

    Errors are given by action, with "average", the mean over frames, and "mean of actions", the
    mean of the actions' means (which VideoPose3D prints).
    """
    report = {"samples": len(pose_m_NK3)}
    for name, measure in (("mpjpe", metrics.mpjpe), ("p_mpjpe", metrics.p_mpjpe)):
        error_mm_N = 1000 * np.asarray(measure(pose_m_NK3, labels["pose_m"]))
        errors = metrics.per_action(error_mm_N, labels["action"])
        actions = [error for action, error in errors.items() if action != "average"]
        report[name] = errors | {"mean of actions": float(np.mean(actions))}
    return report


def format_lifter_report(rows: Mapping[str, dict], protocol: str) -> str:
    """Reports of lifters as a text table."""
    columns = list(next(iter(rows.values()))["mpjpe"])
    body = [
        [f"{name}, {label}", *(f"{row[key][column]:.1f}" for column in columns)]
        for name, row in rows.items()
        for key, label in (("mpjpe", "MPJPE"), ("p_mpjpe", "P-MPJPE"))
    ]
    return f"{protocol}\n\n{text_table(['mm', *columns], body)}"


def _lifter_protocol(config: ConfigDict, dataset: PoseDataset, lifter, flip: bool) -> str:
    stored = [read_metadata(directory).get("metadata", {}) for directory in dataset.directories]
    inputs = [one.get("keypoints", "the labels of the data set") for one in stored]
    how = _frames_of(lifter) or "single frames"
    return (
        f"{len(dataset)} poses of {', '.join(np.unique(dataset.labels['subject']))} (split "
        f"{config.data.eval_split} of {config.data.dir}); 2D input: {', '.join(inputs)}; {how}"
        f"{'; mean with the mirrored input' if flip else ''}. MPJPE in mm, root-relative, all "
        "joints with the root; P-MPJPE after similarity alignment of each pose; average over "
        "frames, and mean of the actions' means."
    )


def _frames_of(lifter: Lifter) -> str:
    """What a lifter of several frames sees, in words."""
    frames = lifter.spec.receptive_field
    return f"{frames} frames a pose, clips padded by repetition" if frames > 1 else ""


def _protocol(config: ConfigDict, dataset: PoseDataset, lifters: Mapping[str, Lifter]) -> str:
    labels, skeleton = dataset.labels, dataset.skeleton.name
    subjects = ", ".join(np.unique(labels["subject"]))
    known_NK = known_joints(labels)
    counted_NK = metrics.counted_by_torso(labels["joints_px"], skeleton, known=known_NK)
    without = int((~counted_NK.any(axis=-1)).sum())
    several = "".join(f"; {n}: {text}" for n, one in lifters.items() if (text := _frames_of(one)))
    left_out = f", without {without} samples whose torso's ends are not labelled" if without else ""
    return (
        f"{len(dataset)} samples of {subjects} (split {config.data.eval_split} of "
        f"{config.data.dir}); MPJPE in mm, root-relative, mean over frames; P-MPJPE after "
        "similarity alignment; PCK@0.2 of the box's longer side, PDJ@0.2 of the torso"
        f"{left_out}{several}."
    )


def format_report(rows: Mapping[str, dict], protocol: str) -> str:
    """Reports as two text tables: the measures, and MPJPE by action."""
    lifters = list(next(iter(rows.values()))["lifters"])
    head = [
        "2D input",
        *lifters,
        "mean",
        *(f"{name} (P)" for name in lifters),
        "PCK@0.2",
        "PDJ@0.2",
    ]
    body = [
        [
            row_name,
            *(f"{row['lifters'][name]['mpjpe']:.1f}" for name in lifters),
            f"{row['mean']:.1f}" if lifters else "-",
            *(f"{row['lifters'][name]['p_mpjpe']:.1f}" for name in lifters),
            f"{row['pck']:.2f}",
            "-" if row["pdj"] is None else f"{row['pdj']:.2f}",
        ]
        for row_name, row in rows.items()
    ]
    parts = [protocol, text_table(head, body)]
    if lifters:
        actions = list(next(iter(rows.values()))["lifters"][lifters[0]]["per_action"])
        by_action = [
            [
                f"{row_name}, {name}",
                *(f"{row['lifters'][name]['per_action'][a]:.1f}" for a in actions),
            ]
            for row_name, row in rows.items()
            for name in lifters
        ]
        parts.append(text_table(["MPJPE by action", *actions], by_action))
    return "\n\n".join(parts)
