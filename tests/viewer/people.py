"""Documents for the viewer with positions that are known."""

import base64

import cv2
import numpy as np

TRUTH, PREDICTION = (31, 95, 214), (214, 38, 31)

# A cross around the root: its joints are a metre along each camera axis.
CROSS = {
    "joints": ["root", "right_x", "left_x", "below", "above", "near", "far"],
    "edges": [[0, 1], [0, 2], [0, 3], [0, 4], [0, 5], [0, 6]],
}
CROSS_POSE = [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, -1], [0, 0, 1]]


def data_url(rgb, width: int = 80, height: int = 60) -> str:
    """A picture of one colour."""
    image = np.full((height, width, 3), rgb[::-1], np.uint8)
    data = cv2.imencode(".png", image)[1]
    return "data:image/png;base64," + base64.b64encode(data).decode()


def cross(frames: int = 1, **changes) -> dict:
    """The cross in frames that differ in picture and pose; the prediction is 0.1 m to the right."""
    made = []
    for i in range(frames):
        truth = np.array(CROSS_POSE, float) * (1 - 0.1 * (i % 5))
        kpts = np.array([40, 30]) + 20 * truth[:, :2]
        made.append(
            {
                "title": f"frame {i}",
                "image": data_url(((40, 200, 90), (230, 200, 30), (120, 60, 160))[i % 3]),
                "kpts": {"truth": kpts, "FT-2D": kpts + np.array([2, 0])},
                "poses": {"truth": truth, "FT-2D": truth + np.array([0.1, 0, 0])},
                "captions": {"FT-2D": f"{100 + i} mm"},
            }
        )
    return {"skeleton": CROSS, "frames": made} | changes
