"""The `coco` command: people in COCO's photographs, with 2D labels, as a data set.

Records have no 3D (`has_3d` is false, poses are zero) and the identity as camera. `frame` is COCO's
image number and `trial` its annotation number. The box is COCO's, around the outline of the person
and not around the joints.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep import building, pictures
from data_prep.building import DatasetPlan, Problem, Unit
from data_prep.coco.annotations import Person, Selection, by_image, read_people
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError
from liftjax.skeletons import COCO, convert, convert_confidence

SPLITS = {"train": "train2017", "test": "val2017"}
SKELETONS = ("human36m", "coco", "panoptic")
MIN_KEYPOINTS = 1  # as HRNet and MMPose take them
MIN_SIDE = 8.0
_PEOPLE_A_PART = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        required=True,
        help="directory with annotations/person_keypoints_train2017.json and train2017/*.jpg "
        "(or images/train2017/*.jpg), and the same for val2017",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=SPLITS,
        default=list(SPLITS),
        help="train is train2017, test is val2017; default: both",
    )
    parser.add_argument(
        "--skeleton",
        choices=SKELETONS,
        default="human36m",
        help="joint set of the records; joints that COCO does not have are computed from others, "
        "and are visible if all of these are labelled and they lie in the image; default: "
        "%(default)s",
    )
    parser.add_argument(
        "--min-keypoints",
        type=int,
        default=MIN_KEYPOINTS,
        metavar="N",
        help="labelled joints (of COCO's 17) that a person must have; default: %(default)s",
    )
    parser.add_argument(
        "--min-side",
        type=float,
        default=MIN_SIDE,
        metavar="PX",
        help="least width and height of the box of a person; default: %(default)s",
    )
    pictures.add_picture_arguments(parser)
    building.add_build_arguments(parser)


def run_command(args: argparse.Namespace) -> None:
    building.build_from_args(plan_coco(**building.plan_options(args)), args)


def plan_coco(
    source,
    *,
    splits: Sequence[str] = tuple(SPLITS),
    skeleton: str = "human36m",
    min_keypoints: int = MIN_KEYPOINTS,
    min_side: float = MIN_SIDE,
    full_frames: bool = False,
) -> DatasetPlan:
    """Plans a data set of COCO in `source`.

    Raises:
      LiftjaxError: an annotation file or a folder of pictures is missing or unreadable.
    """
    source = Path(source).expanduser().absolute()
    selection = Selection(max(min_keypoints, 1), max(min_side, 1.0))
    parts, problems = {}, []
    for split in sorted(set(splits), key=list(SPLITS).index):
        subset = SPLITS[split]
        folder = _picture_folder(source, split)
        annotations = source / "annotations" / f"person_keypoints_{subset}.json"
        name = str(annotations.relative_to(source))
        people, found = read_people(annotations, source, folder, selection)
        problems += found
        people, hidden = _with_visible(people, skeleton)
        if hidden:
            detail = f"none of them gives a joint of {skeleton}"
            problems.append(Problem("no visible joint", name, None, detail, hidden))
        if not people:
            kinds = ", ".join(sorted({p.kind for p in problems}))
            raise LiftjaxError(f"{annotations} holds nobody to train on ({kinds}).")
        where = str(source), str(folder), str(annotations), subset
        parts[split] = [
            (CocoPeople(*where, group, skeleton, full_frames),)
            for group in by_image(people, _PEOPLE_A_PART)
        ]
    return DatasetPlan(
        name="coco",
        skeleton=skeleton,
        settings={"selection": dataclasses.asdict(selection), "full_frames": full_frames},
        parts=parts,
        metadata={
            "source": "COCO 2017 keypoints, https://cocodataset.org",
            "license": "annotations CC BY 4.0; each photograph has its own licence on Flickr",
        },
        problems=tuple(problems),
        unit="groups",
    )


def _picture_folder(source: Path, split: str) -> Path:
    subset = SPLITS[split]
    folders = (source / subset, source / "images" / subset)
    for folder in folders:
        if folder.is_dir():
            return folder
    other = next(iter(SPLITS.keys() - {split}))
    raise LiftjaxError(
        f"COCO's {subset} pictures are missing: expected {folders[0]} or {folders[1]}; "
        f"to build without them: --splits {other}"
    )


def _with_visible(people: Sequence[Person], skeleton: str) -> tuple[list[Person], int]:
    """The people with a visible joint of the joint set, and the number of those without."""
    if not people:
        return [], 0
    _, visible = joints_of(people, skeleton)
    kept = list(itertools.compress(people, visible.any(axis=-1)))
    return kept, len(people) - len(kept)


def joints_of(people: Sequence[Person], skeleton: str) -> tuple[np.ndarray, np.ndarray]:
    """Joints (P, K, 2) of a joint set in pixels, and which of them are visible (P, K).

    A joint that is not labelled, or computed from one that is not, is invisible and lies in the
    middle of the box. COCO itself writes 0, 0, which would spoil what is computed from all joints.
    """
    keypoints = np.stack([person.keypoints for person in people])
    boxes = np.stack([person.box_xyxy for person in people])
    labelled = keypoints[..., 2] > 0
    center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    joints = np.where(labelled[..., None], keypoints[..., :2], center)
    joints = convert(joints, COCO.name, skeleton)
    known = convert_confidence(labelled.astype(float), COCO.name, skeleton) > 0
    joints = np.where(known[..., None], joints, center)
    sizes = np.array([person.image_size for person in people])
    return joints, known & geometry.inside_image(joints, sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class CocoPeople(Unit):
    """Some people; all people of an image are in one unit."""

    source: str
    folder: str
    annotations: str
    subset: str
    people: tuple[Person, ...]
    skeleton: str
    full_frames: bool

    @property
    def name(self) -> str:
        return f"{self.subset}/{self.people[0].image}-{self.people[-1].image}"

    @property
    def inputs(self) -> tuple[str, ...]:
        files = dict.fromkeys(str(Path(self.folder, p.file_name)) for p in self.people)
        return (self.annotations, *files)

    def records(self) -> Iterator[Record | Problem]:
        for _, people in itertools.groupby(self.people, lambda p: p.image):
            yield from self._records_of_image(list(people))

    def _records_of_image(self, people: Sequence[Person]) -> Iterator[Record | Problem]:
        first = people[0]
        path = Path(self.folder, first.file_name)
        picture = pictures.read_jpeg(path)
        kind, detail = pictures.picture_fault(picture, path, first.image_size, "annotations")
        if kind:
            inside = path.is_relative_to(self.source)
            file = str(path.relative_to(self.source) if inside else path)
            yield Problem(kind, file, first.image, detail, len(people))
        else:
            joints = zip(people, *joints_of(people, self.skeleton), strict=True)
            for person, joints_px, visible in joints:
                yield self._record(person, joints_px, visible, picture)

    def _record(self, person: Person, joints_px, visible, picture: np.ndarray) -> Record:
        box = person.box_xyxy
        image, stored_to_image = pictures.store(picture, box, full_frame=self.full_frames)
        return Record(
            image=image,
            stored_to_image=stored_to_image,
            image_size=np.array(person.image_size),
            box_xyxy=box,
            joints_px=joints_px,
            joint_visible=visible,
            pose_m=np.zeros((len(joints_px), 3)),
            root_m=np.zeros(3),
            has_3d=False,
            camera_K=np.eye(3),
            camera_R=np.eye(3),
            camera_t=np.zeros(3),
            camera_distortion=np.zeros(5),
            distortion_model="opencv",
            skeleton=self.skeleton,
            subject="coco",
            action=self.subset,
            camera="",
            frame=person.image,
            trial=person.annotation,
        )
