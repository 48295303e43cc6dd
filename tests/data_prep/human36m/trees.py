"""Small trees in each of the three layouts of Human3.6M, named and shaped like the real ones.

A person walks on the spot; labels are made with the published cameras, pictures show the number of
the frame as a shade and the joints as dots. The same takes can be written in every layout.
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import h5py
import numpy as np
from cdflib.cdfwrite import CDF

from data_prep.human36m.cameras import CAMERAS, published_camera
from data_prep.human36m.names import file_numbers

# What the archive of S1 and h36m-fetch's table of actions call some of them.
S1_NAMES = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog"}
FETCH_NAMES = S1_NAMES | {"WalkTogether": "WalkingTogether"}
ACTION_NUMBERS = {
    "Directions": 2, "Discussion": 3, "Eating": 4, "Greeting": 5, "Phoning": 6, "Posing": 7,
    "Purchases": 8, "Sitting": 9, "SittingDown": 10, "Smoking": 11, "Photo": 12, "Waiting": 13,
    "Walking": 14, "WalkDog": 15, "WalkTogether": 16,
}  # fmt: skip
JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)

# A person standing at the origin, world axes (z up), millimetres, joint by joint of the 32.
_BODY = np.zeros((32, 3))
_BODY[list(JOINTS)] = [
    (0, 0, 950), (-130, 0, 940), (-130, 10, 500), (-130, 0, 60), (130, 0, 940), (130, 10, 500),
    (130, 0, 60), (0, 0, 1180), (0, 0, 1420), (0, 60, 1530), (0, 0, 1640), (150, 0, 1400),
    (200, 0, 1120), (220, 60, 890), (-150, 0, 1400), (-200, 0, 1120), (-220, 60, 890),
]  # fmt: skip


@dataclasses.dataclass(eq=False)
class Take:
    """One camera's view of a trial: labels of F frames as the archive has them.

    Attributes:
      px: (F, 32, 2) float32. mm: (F, 32, 3) float64, camera axes.
    """

    subject: str
    action: str
    trial: int
    camera: str
    px: np.ndarray
    mm: np.ndarray

    @property
    def stem(self) -> str:
        """The archive's file name: "Directions 1.54138969"."""
        spelling = S1_NAMES if self.subject == "S1" else {}
        number = file_numbers(self.subject, self.action)[self.trial - 1]
        return f"{spelling.get(self.action, self.action)} {number}".strip() + f".{self.camera}"

    def picture(self, frame: int) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        width, height = published_camera(self.subject, self.camera).image_size
        shade = 50 + 30 * (frame % 5)
        picture = np.full((height, width, 3), (shade, 90, 160 - shade // 2), np.uint8)
        for x, y in self.px[frame, list(JOINTS)].tolist():
            cv2.circle(picture, (round(x), round(y)), 12, (230, 230, 230), -1)
        return picture


def takes(
    sequences: Iterable[tuple[str, str, int]], frames: int = 9, cameras=CAMERAS
) -> list[Take]:
    """Takes of (subject, action, trial) by all cameras."""
    made = []
    for number, (subject, action, trial) in enumerate(sequences):
        time = np.arange(frames)[:, None, None]
        sway = np.sin(0.7 * time + np.arange(32)[None, :, None] + [0.0, 1.0, 2.0] + number)
        world = _BODY + 15 * sway + [200 * np.cos(number), 200 * np.sin(number), 0]
        for name in cameras:
            view = published_camera(subject, name)
            cam = view.to_camera(world / 1000)
            px = view.project(cam)
            made.append(Take(subject, action, trial, name, px.astype(np.float32), cam * 1000))
    return made


def write_archive(root: Path, made: Iterable[Take]) -> Path:
    """S1/MyPoseFeatures/D2_Positions/Directions 1.54138969.cdf, ..., S1/Videos/....mp4."""
    for take in made:
        features = root / take.subject / "MyPoseFeatures"
        write_cdf(features / "D2_Positions" / f"{take.stem}.cdf", take.px)
        write_cdf(features / "D3_Positions_mono" / f"{take.stem}.cdf", take.mm)
        write_video(root / take.subject / "Videos" / f"{take.stem}.mp4", take)
    return root


def write_cdf(path: Path, joints: np.ndarray, records: bool = False) -> None:
    """Pose of shape (1, frames, 32 * dimensions), as the archive's files have it.

    Or, with `records`, of one record a frame.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = joints.reshape(*(() if records else (1,)), len(joints), -1)
    kind = CDF.CDF_REAL4 if flat.dtype == np.float32 else CDF.CDF_REAL8
    file = CDF(str(path), cdf_spec={"rDim_sizes": []}, delete=path.exists())
    file.write_var(
        {
            "Variable": "Pose",
            "Data_Type": kind,
            "Num_Elements": 1,
            "Rec_Vary": True,
            "Dim_Sizes": list(flat.shape[1:]),
        },
        var_data=flat,
    )
    file.close()


def write_video(path: Path, take: Take, frames: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = published_camera(take.subject, take.camera).image_size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 50, size)
    for frame in range(len(take.px) if frames is None else frames):
        writer.write(take.picture(frame % len(take.px)))
    writer.release()


def index_first(mp4: bytes) -> bytes:
    """The file with its index (moov) before the pictures (mdat), as many published ones have it."""
    boxes, position = {}, 0
    while position < len(mp4):
        length = int.from_bytes(mp4[position : position + 4], "big")
        boxes[mp4[position + 4 : position + 8]] = mp4[position : position + length]
        position += length
    index = bytearray(boxes.pop(b"moov"))
    table = index.find(b"stco") + 8  # count, then offsets of the chunks of pictures
    for entry in range(int.from_bytes(index[table : table + 4], "big")):
        at = slice(table + 4 + 4 * entry, table + 8 + 4 * entry)
        index[at] = (int.from_bytes(index[at], "big") + len(index)).to_bytes(4, "big")
    return boxes.pop(b"ftyp") + bytes(index) + b"".join(boxes.values())


def every(step: int) -> Callable[[Take], np.ndarray]:
    """Keeps the frames 0, step, 2 step, ..."""
    return lambda take: np.arange(0, len(take.px), step)


def write_fetch(root: Path, made: Iterable[Take], keep=every(1)) -> Path:  # noqa: B008
    """S1/Directions-1/annot.h5 and imageSequence/54138969/img_000001.jpg, ... of frames `keep`."""
    folders = {}
    for take in made:
        name = f"{FETCH_NAMES.get(take.action, take.action)}-{take.trial}"
        folders.setdefault(root / take.subject / name, []).append(take)
    for folder, cameras in folders.items():
        columns, intrinsics = [], {}
        for take in cameras:
            frames = keep(take)
            place = folder / "imageSequence" / take.camera
            for frame in frames:
                write_jpeg(place / f"img_{frame + 1:06d}.jpg", take.picture(frame))
            numbers = {
                "camera": int(take.camera), "subject": int(take.subject[1:]),
                "action": ACTION_NUMBERS[take.action], "subaction": take.trial,
            }  # fmt: skip
            columns.append(
                {
                    "pose/2d": take.px[frames],
                    "pose/3d": take.mm[frames],
                    "pose/3d-univ": take.mm[frames],
                    "frame": frames + 1,
                    **{key: np.full(len(frames), value) for key, value in numbers.items()},
                }
            )
            intrinsics[f"intrinsics/{take.camera}"] = np.array([1145.0, 512.5, 1143.8, 515.5])
        with h5py.File(folder / "annot.h5", "w") as h5:
            for key in columns[0]:
                h5[key] = np.concatenate([column[key] for column in columns])
            for key, values in intrinsics.items():
                h5[key] = values
    return root


def write_mmpose(root: Path, made: Iterable[Take], step: int = 1, keep=None) -> Path:
    """annotation_body3d/fps50/h36m_train.npz (step 1; fps10: 5), images/S1/S1_Directions_1..."""
    rows = {"train": [], "test": []}
    for take in made:
        split = "test" if take.subject in ("S9", "S11") else "train"
        name = f"{take.subject}_{take.stem.replace(' ', '_')}"
        for frame in (keep or every(step))(take).tolist():
            image = f"{take.subject}/{name}/{name}_{frame + 1:06d}.jpg"
            write_jpeg(root / "images" / image, take.picture(frame))
            px, mm = take.px[frame][None, list(JOINTS)], take.mm[frame][None, list(JOINTS)]
            rows[split].append(
                (
                    image,
                    np.concatenate([px, np.ones((1, 17, 1))], axis=2),
                    np.concatenate([mm / 1000.0, np.ones((1, 17, 1))], axis=2),
                )
            )
    folder = root / "annotation_body3d" / f"fps{50 // step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "cameras.pkl").write_bytes(b"not to be read")
    for split, chosen in rows.items():
        if chosen:
            images, px, metres = zip(*chosen, strict=True)
            px = np.concatenate(px)
            low, high = px[..., :2].min(axis=1), px[..., :2].max(axis=1)
            np.savez(
                folder / f"h36m_{split}.npz",
                imgname=np.array(images),
                center=(low + high) / 2,
                scale=1.2 * (high - low).max(axis=1) / 200,
                part=px,
                S=np.concatenate(metres),
            )
    return root


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
