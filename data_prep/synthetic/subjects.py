"""Seven synthetic people: bone lengths, build, skin and clothes.

They have the names of the seven Human3.6M subjects with public poses, so that the usual split
applies: five people for training and two others for testing.
"""

import dataclasses
import math

Colour = tuple[float, float, float]

NECK_TILT = math.radians(28)
"""How far the bone from the thorax to the nose joint leans forward at rest."""
HEAD_TILT = math.radians(16)
"""How far the bone from the nose joint to the crown leans back at rest."""
CLAVICLE_DROP = math.radians(12)
"""How far below the thorax joint the shoulders are at rest."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A body at rest and its looks. Lengths in metres, colours in linear RGB 0..1.

    Attributes:
      pelvis: half the distance between the hip joints.
      spine, chest, neck, head: from the hip to the spine joint, the thorax, the nose joint and the
        crown.
      face: nose joint to nose tip.
      clavicle: thorax to shoulder.
      hand: wrist to fingertips.
      ankle: height of the ankle over the sole.
      heel, toe: horizontal distance from the ankle back to the heel and forward to the toes.
      torso_build, limb_build: factors on the radii of an average body.
      sleeves, trouser_legs: share of the limb that is covered, 0 (none) to 1 (wrist, ankle).
    """

    name: str
    pelvis: float
    spine: float
    chest: float
    neck: float
    head: float
    face: float
    clavicle: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    ankle: float
    heel: float
    toe: float
    torso_build: float
    limb_build: float
    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    sleeves: float
    trouser_legs: float

    @property
    def stature(self) -> float:
        """Height of the crown when standing upright (m)."""
        return (
            self.leg + self.ankle + self.spine + self.chest
            + self.neck * math.cos(NECK_TILT) + self.head * math.cos(HEAD_TILT)
        )  # fmt: skip

    @property
    def leg(self) -> float:
        """Length of thigh and shin (m)."""
        return self.thigh + self.shin

    @property
    def seat_clearance(self) -> float:
        """Height of the hip joints over the surface that the person sits on (m)."""
        return 0.085 * self.torso_build


def _subject(
    name: str,
    stature: float,
    *,
    legs: float = 1.0,
    arms: float = 1.0,
    shoulders: float = 1.0,
    hips: float = 1.0,
    head: float = 1.0,
    **looks,
) -> Subject:
    """A body of the given stature (m); the other arguments multiply average proportions.

    Longer legs and a longer head make the trunk shorter.
    """
    neck, crown = 0.072 * stature, 0.108 * stature * head
    thigh, shin, ankle = 0.247 * stature * legs, 0.238 * stature * legs, 0.045 * stature
    above = neck * math.cos(NECK_TILT) + crown * math.cos(HEAD_TILT)
    trunk = stature - thigh - shin - ankle - above
    return Subject(
        name=name,
        pelvis=0.077 * stature * hips,
        spine=0.48 * trunk,
        chest=0.52 * trunk,
        neck=neck,
        head=crown,
        face=0.053 * stature,
        clavicle=0.096 * stature * shoulders,
        upper_arm=0.166 * stature * arms,
        forearm=0.147 * stature * arms,
        hand=0.103 * stature * arms,
        thigh=thigh,
        shin=shin,
        ankle=ankle,
        heel=0.032 * stature,
        toe=0.105 * stature,
        **looks,
    )


_PEOPLE = (
    _subject(
        "S1", 1.68, hips=1.08, shoulders=0.95, torso_build=0.95, limb_build=0.95,
        skin=(0.62, 0.38, 0.27), hair=(0.10, 0.05, 0.02), shirt=(0.55, 0.05, 0.06),
        trousers=(0.03, 0.05, 0.16), shoes=(0.60, 0.60, 0.58), sleeves=0.45, trouser_legs=1.0,
    ),
    _subject(
        "S5", 1.55, legs=0.96, arms=0.97, hips=1.12, shoulders=0.93, head=1.06,
        torso_build=1.08, limb_build=1.05,
        skin=(0.24, 0.12, 0.07), hair=(0.01, 0.01, 0.01), shirt=(0.70, 0.52, 0.06),
        trousers=(0.10, 0.10, 0.10), shoes=(0.25, 0.03, 0.03), sleeves=0.2, trouser_legs=0.8,
    ),
    _subject(
        "S6", 1.76, legs=1.0, shoulders=1.05, torso_build=1.22, limb_build=1.15,
        skin=(0.70, 0.45, 0.34), hair=(0.35, 0.20, 0.06), shirt=(0.05, 0.30, 0.10),
        trousers=(0.28, 0.20, 0.11), shoes=(0.05, 0.03, 0.02), sleeves=0.5, trouser_legs=1.0,
    ),
    _subject(
        "S7", 1.84, legs=1.04, arms=1.03, shoulders=1.02, hips=0.95, head=0.97,
        torso_build=0.88, limb_build=0.86,
        skin=(0.45, 0.26, 0.16), hair=(0.03, 0.02, 0.015), shirt=(0.06, 0.14, 0.50),
        trousers=(0.40, 0.39, 0.36), shoes=(0.02, 0.02, 0.03), sleeves=1.0, trouser_legs=1.0,
    ),
    _subject(
        "S8", 1.92, legs=1.02, arms=1.04, shoulders=1.10, head=0.96,
        torso_build=1.10, limb_build=1.08,
        skin=(0.12, 0.06, 0.035), hair=(0.01, 0.008, 0.006), shirt=(0.72, 0.72, 0.70),
        trousers=(0.05, 0.12, 0.08), shoes=(0.45, 0.22, 0.05), sleeves=0.45, trouser_legs=0.45,
    ),
    _subject(
        "S9", 1.80, legs=0.98, arms=1.0, shoulders=1.04, torso_build=1.02, limb_build=1.0,
        skin=(0.66, 0.42, 0.31), hair=(0.16, 0.09, 0.04), shirt=(0.30, 0.08, 0.34),
        trousers=(0.04, 0.06, 0.20), shoes=(0.55, 0.55, 0.52), sleeves=0.5, trouser_legs=1.0,
    ),
    _subject(
        "S11", 1.66, legs=1.02, arms=0.98, hips=1.03, shoulders=0.99,
        torso_build=0.92, limb_build=0.93,
        skin=(0.34, 0.19, 0.11), hair=(0.02, 0.015, 0.01), shirt=(0.04, 0.42, 0.42),
        trousers=(0.22, 0.04, 0.05), shoes=(0.08, 0.08, 0.09), sleeves=1.0, trouser_legs=0.5,
    ),
)  # fmt: skip

SUBJECTS: dict[str, Subject] = {person.name: person for person in _PEOPLE}
TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
