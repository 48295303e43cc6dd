"""The bones of synthetic people, which no motion may stretch."""

import math

from data_prep.synthetic.subjects import Subject


def bone_lengths(s: Subject) -> dict[tuple[str, str], float]:
    """Length (m) of each bone, named by its two points."""
    lengths = {
        ("hip", "spine"): s.spine,
        ("spine", "thorax"): s.chest,
        ("thorax", "nose"): s.neck,
        ("nose", "head_top"): s.head,
        ("nose", "face"): s.face,
    }
    for side in ("left", "right"):
        lengths |= {
            ("hip", f"{side}_hip"): s.pelvis,
            (f"{side}_hip", f"{side}_knee"): s.thigh,
            (f"{side}_knee", f"{side}_ankle"): s.shin,
            (f"{side}_ankle", f"{side}_heel"): math.hypot(s.heel, s.ankle),
            (f"{side}_ankle", f"{side}_toe"): math.hypot(s.toe, s.ankle),
            ("thorax", f"{side}_shoulder"): s.clavicle,
            (f"{side}_shoulder", f"{side}_elbow"): s.upper_arm,
            (f"{side}_elbow", f"{side}_wrist"): s.forearm,
            (f"{side}_wrist", f"{side}_hand"): s.hand,
        }
    return lengths
