"""A random room around a person: walls, furniture, light, clothes and the camera's film.

All randomness of one picture comes from one generator. World axes, metres, z up. The origin is the
middle of the floor; the person stands within about 1.5 m of it and the cameras in the corners.
"""

import dataclasses

import numpy as np

from data_prep.synthetic.body import Outfit
from data_prep.synthetic.motions import Chair
from data_prep.synthetic.render import CameraFilm, Light
from data_prep.synthetic.solids import Boxes
from data_prep.synthetic.subjects import Subject
from data_prep.synthetic.textures import LOOK_SIZE, Pattern, look

NUM_BOXES = 32
_WALL_PATTERNS = (
    Pattern.PLAIN, Pattern.PLAIN, Pattern.PLAIN, Pattern.BARS, Pattern.BRICKS, Pattern.MOTTLED,
    Pattern.CHECKER, Pattern.PLANKS, Pattern.STRIPES,
)  # fmt: skip
_FLOOR_PATTERNS = (Pattern.PLANKS, Pattern.PLANKS, Pattern.CHECKER, Pattern.MOTTLED, Pattern.PLAIN)
_SHIRT_PATTERNS = (Pattern.PLAIN, Pattern.PLAIN, Pattern.STRIPES, Pattern.CHECKER, Pattern.MOTTLED)
_PATTERN_SCALE_M = {
    Pattern.PLAIN: (1, 1), Pattern.STRIPES: (0.15, 0.6), Pattern.BARS: (0.1, 0.5),
    Pattern.CHECKER: (0.2, 0.6), Pattern.PLANKS: (0.1, 0.25), Pattern.BRICKS: (0.2, 0.4),
    Pattern.MOTTLED: (0.03, 0.25), Pattern.PICTURE: (1, 1), Pattern.BOOKS: (0.03, 0.06),
}  # fmt: skip

# Share of pictures in which subjects wear their own colours. Without other colours a detector would
# learn to look for a few clothes.
_OWN_CLOTHES = 0.5


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How often a picture is made difficult.

    Attributes:
      occluded: share of pictures with furniture between the camera and the person.
      camouflage: share of pictures whose person wears the colours of the wall behind.
    """

    occluded: float = 0.2
    camouflage: float = 0.1


@dataclasses.dataclass(frozen=True)
class Setting:
    """What surrounds one person in one picture.

    Attributes:
      scene: the fields of render.Scene without those of the person and the camera; unbatched.
      outfit: what the person wears.
      occluded, camouflage: how the picture is made difficult, see :class:`Difficulty`.
    """

    scene: dict
    outfit: Outfit
    occluded: bool
    camouflage: bool


def _color(rng, brightness=(0.05, 0.7), saturation=(0.0, 0.6)):
    """A random linear RGB colour."""
    value, amount = rng.uniform(*brightness), rng.uniform(*saturation)
    hue = rng.uniform() + np.array([0, 1 / 3, 2 / 3])
    tint = 0.5 + 0.5 * np.cos(2 * np.pi * hue)
    return value * (1 - amount + amount * tint * 1.6)


def _random_look(rng, patterns, color):
    """A random pattern of a colour and a lighter or darker one."""
    pattern = patterns[rng.integers(len(patterns))]
    other = color * rng.uniform(0.45, 1.7) + rng.uniform(0, 0.05)
    scale = rng.uniform(*_PATTERN_SCALE_M[pattern])
    return look(pattern, color, np.clip(other, 0, 0.9), scale, rng.uniform())


class _Furniture:
    """Collects boxes.

    `finish` adds boxes under the floor to make NUM_BOXES, and gives fields of render.Scene.
    """

    def __init__(self):
        self.maps, self.sizes, self.looks = [], [], []

    def box(self, center, half, look_row, yaw=0.0):
        """Adds a box turned by `yaw`, with center (3,) and half sides (3,) in metres."""
        center, half = np.asarray(center, float), np.asarray(half, float)
        cos, sin = np.cos(yaw), np.sin(yaw)
        rows = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) / half[:, None]
        self.maps.append(np.concatenate([rows, -(rows @ center)[:, None]], axis=1))
        self.sizes.append(half)
        self.looks.append(look_row)

    def group(self, position, yaw, parts, look_row):
        """Adds the boxes of one piece; parts are (center, half) in its own axes, x to the front."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        for (x, y, z), half in parts:
            at = (position[0] + cos * x - sin * y, position[1] + sin * x + cos * y, z)
            self.box(at, half, look_row, yaw)

    def finish(self):
        if len(self.maps) > NUM_BOXES:
            raise ValueError(f"{len(self.maps)} boxes in a room for {NUM_BOXES}.")
        while len(self.maps) < NUM_BOXES:
            self.box((0, 0, -50), (0.01, 0.01, 0.01), np.zeros(LOOK_SIZE, np.float32))
        maps, sizes, looks = (
            np.stack(a).astype(np.float32) for a in (self.maps, self.sizes, self.looks)
        )
        return {"boxes": Boxes(maps), "box_size": sizes, "box_looks": looks}


def _legs(half_x, half_y, height, thickness=0.022):
    return [
        ((sx * (half_x - thickness), sy * (half_y - thickness), height / 2),
         (thickness, thickness, height / 2))
        for sx in (-1, 1) for sy in (-1, 1)
    ]  # fmt: skip


def _chair_parts(seat_height, half=0.215, back=0.46):
    """A chair that faces x."""
    return [
        ((0, 0, seat_height - 0.02), (half, half, 0.02)),
        ((-half - 0.015, 0, seat_height + back * 0.68), (0.018, half, back * 0.30)),
        ((-half - 0.015, half - 0.02, seat_height + back * 0.3), (0.016, 0.02, back * 0.5)),
        ((-half - 0.015, 0.02 - half, seat_height + back * 0.3), (0.016, 0.02, back * 0.5)),
        *_legs(half, half, seat_height - 0.04),
    ]


def _table_parts(half_x, half_y, height):
    return [((0, 0, height - 0.02), (half_x, half_y, 0.02)), *_legs(half_x, half_y, height - 0.04)]


def _decorate_walls(furniture, rng, room_half):
    """Adds pictures and shelves on each wall, away from the corners with the cameras."""
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        for slot in (-1.2, 0.0, 1.2):
            choice = rng.uniform()
            along = slot + rng.uniform(-0.25, 0.25)
            if choice < 0.45 and len(furniture.maps) < NUM_BOXES - 12:
                half_width, half_height = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.5)
                height, depth = rng.uniform(1.2, 1.9), 0.02
                row = look(Pattern.PICTURE, _color(rng), _color(rng), 1.0, rng.uniform())
            elif choice < 0.65 and len(furniture.maps) < NUM_BOXES - 12:
                half_width, half_height = rng.uniform(0.3, 0.6), rng.uniform(0.4, 1.0)
                height, depth = half_height, rng.uniform(0.14, 0.25)
                patterns = (Pattern.BOOKS, Pattern.BOOKS, Pattern.PLANKS, Pattern.PLAIN)
                row = _random_look(rng, patterns, _color(rng))
            else:
                continue
            center, half = np.empty(3), np.empty(3)
            center[axis], center[1 - axis] = sign * (room_half[axis] - depth), along
            half[axis], half[1 - axis] = depth, half_width
            center[2], half[2] = height, half_height
            furniture.box(center, half, row)


def _stand_clutter(furniture, rng, person, reach, camera, room_half):
    """Adds boxes on the floor, away from the person and the line from the camera to them."""
    placed, wanted = 0, rng.integers(2, 6)
    for _ in range(20):
        if placed == wanted:
            return
        half = np.array([*rng.uniform(0.12, 0.4, 2), rng.uniform(0.1, 0.45)])
        spot = rng.uniform(-1, 1, 2) * (np.asarray(room_half[:2]) - 0.5)
        clear = np.linalg.norm(spot - person) > reach + np.hypot(*half[:2])
        if not clear or _blocks(spot, np.hypot(*half[:2]) + reach, person, camera):
            continue
        patterns = (Pattern.PLAIN, Pattern.PLANKS, Pattern.MOTTLED, Pattern.PICTURE)
        row = _random_look(rng, patterns, _color(rng))
        furniture.box((*spot, half[2]), half, row, rng.uniform(0, np.pi))
        placed += 1


def _blocks(spot, radius, person, camera):
    """Whether a disc on the floor touches the line from the camera to the person."""
    line = person - camera
    share = np.clip((spot - camera) @ line / (line @ line), 0, 1)
    return np.linalg.norm(camera + share * line - spot) < radius


def _occlude(furniture, rng, person, reach, camera):
    """Adds a table or box between camera and person that hides a part of legs or trunk."""
    line = (camera - person) / np.linalg.norm(camera - person)
    across = np.array([-line[1], line[0]])
    distance = reach + rng.uniform(0.15, 0.6)
    spot = person + distance * line + rng.uniform(-0.35, 0.35) * across
    yaw = np.arctan2(line[1], line[0]) + rng.uniform(-0.3, 0.3)
    width, color = rng.uniform(0.25, 0.7), _color(rng)
    row = _random_look(rng, (Pattern.PLAIN, Pattern.PLANKS, Pattern.MOTTLED), color)
    if rng.uniform() < 0.4:
        furniture.group(spot, yaw, _table_parts(0.3, max(width, 0.45), rng.uniform(0.7, 0.8)), row)
    else:
        half_height = rng.uniform(0.2, 0.52)
        half = (rng.uniform(0.1, 0.25), width, half_height)
        furniture.group(spot, yaw, [((0, 0, half_height), half)], row)


def _wall_behind(person, camera, room_half):
    """The wall (-x, x, -y, y) that the camera sees behind the person, as row of the looks."""
    d = person - camera
    reach = [(np.sign(d[a]) * room_half[a] - camera[a]) / d[a] if d[a] else np.inf for a in (0, 1)]
    axis = int(np.argmin(reach))
    return 2 * axis + int(d[axis] > 0)


def _jitter(rng, color, amount=0.15):
    return np.clip(np.asarray(color) * rng.uniform(1 - amount, 1 + amount, 3), 0.005, 0.9)


def _dress(rng, subject: Subject, wall: np.ndarray | None) -> Outfit:
    """The subject's clothes or others, a little varied, or in the colours of a wall."""
    own = rng.uniform() < _OWN_CLOTHES
    shirt_color = _jitter(rng, subject.shirt) if own else _color(rng, (0.03, 0.7), (0, 1))
    trousers_color = _jitter(rng, subject.trousers) if own else _color(rng, (0.02, 0.4), (0, 0.7))
    if wall is None:
        shirt = _random_look(rng, _SHIRT_PATTERNS, shirt_color)
    else:
        shirt_color = _jitter(rng, wall[3:6], 0.04)
        trousers_color = shirt_color if rng.uniform() < 0.5 else trousers_color
        shirt = look(wall[0], shirt_color, wall[6:9], wall[1], wall[2])
    if Pattern(int(shirt[0])) is not Pattern.PLAIN and wall is None:
        shirt[1] = rng.uniform(0.03, 0.09)
    skin = _jitter(rng, subject.skin, 0.06)
    plain = Pattern.PLAIN
    return Outfit(
        shirt=shirt,
        trousers=look(plain, trousers_color),
        shoes=look(plain, _jitter(rng, subject.shoes)),
        skin=look(plain, skin),
        face=look(Pattern.FACE, skin, 0.12 * skin * np.array([1.4, 0.8, 0.8])),
        hair=look(plain, subject.hair),
        sleeves=subject.sleeves,
        trouser_legs=subject.trouser_legs,
        long_hair=subject.name in ("S1", "S5", "S11"),
    )


def random_setting(
    rng: np.random.Generator,
    subject: Subject,
    points_m: np.ndarray,
    chair: Chair | None,
    camera_position: np.ndarray,
    difficulty: Difficulty = Difficulty(),
) -> Setting:
    """A random room for one person in one picture.

    Args:
      points_m: (P, 3) world points of the person.
      chair: what they sit on.
      camera_position: (3,) in the world.
    """
    occluded, camouflage = rng.uniform(size=2) < (difficulty.occluded, difficulty.camouflage)
    room_half = np.array([*rng.uniform(4.0, 4.6, 2), rng.uniform(2.5, 3.2) / 2])
    rows = np.diag(1 / room_half)
    room_to_local = np.concatenate([rows, [[0], [0], [-1]]], axis=1)
    wall_color = _color(rng, (0.15, 0.75), (0.0, 0.4))
    walls = [_random_look(rng, _WALL_PATTERNS, _jitter(rng, wall_color, 0.2)) for _ in range(4)]
    wood = np.array([1.25, 0.95, 0.65])
    floor_color = _color(rng, (0.08, 0.5), (0.0, 0.3)) * (wood if rng.uniform() < 0.5 else 1)
    floor = _random_look(rng, _FLOOR_PATTERNS, floor_color)
    ceiling = look(Pattern.PLAIN, np.full(3, rng.uniform(0.5, 0.85)))

    person = points_m[:, :2].mean(axis=0)
    reach = np.linalg.norm(points_m[:, :2] - person, axis=1).max() + 0.1
    camera = camera_position[:2]
    furniture = _Furniture()
    if chair is not None:
        row = _random_look(rng, (Pattern.PLAIN, Pattern.PLANKS), _color(rng, (0.03, 0.5)))
        furniture.group(chair.position, chair.yaw, _chair_parts(chair.seat_height), row)
        reach = max(reach, np.linalg.norm(chair.position[:2] - person) + 0.33)
    if occluded:
        _occlude(furniture, rng, person, reach, camera)
    _decorate_walls(furniture, rng, room_half)
    _stand_clutter(furniture, rng, person, reach, camera, room_half)
    scene = furniture.finish() | {
        "room_to_local": room_to_local.astype(np.float32),
        "room_size": room_half.astype(np.float32),
        "room_looks": np.stack([*walls, floor, ceiling]),
        "light": _random_light(rng, room_half),
        "film": _random_film(rng),
    }
    behind = walls[_wall_behind(person, camera, room_half)]
    outfit = _dress(rng, subject, behind if camouflage else None)
    return Setting(scene, outfit, bool(occluded), bool(camouflage))


def _random_light(rng, room_half) -> Light:
    f32 = np.float32
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 3.0)
    position = [radius * np.cos(angle), radius * np.sin(angle), 2 * room_half[2] - 0.1]
    warmth = np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.72, 1.05)])
    key, soft = rng.uniform(0.5, 1.3), rng.uniform(0.35, 0.7)
    return Light(
        position=np.asarray(position, f32),
        radius=f32(rng.uniform(0.03, 0.25)),
        key=(key * warmth).astype(f32),
        sky=(soft * np.array([0.95, 1.0, 1.05])).astype(f32),
        bounce=(0.6 * soft * np.array([1.05, 1.0, 0.92])).astype(f32),
    )


def _random_film(rng) -> CameraFilm:
    f32 = np.float32
    return CameraFilm(
        exposure=f32(rng.uniform(0.8, 1.25)),
        blur=f32(rng.uniform(0, 0.15)),
        noise=f32(rng.uniform(0.002, 0.02)),
        seed=np.uint32(rng.integers(1 << 32)),
    )
