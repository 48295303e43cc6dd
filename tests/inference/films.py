"""Small videos whose frames tell their numbers."""

import numpy as np

from liftjax.inference.video_file import VideoWriter

_STEP = 8  # grey levels between frames, more than compression changes


def film_frame(number: int, size=(64, 48)) -> np.ndarray:
    """(H, W, 3) uint8, red and darker below the middle; number < 30."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[: size[1] // 2, :, 0] = image[size[1] // 2 :, :, 2] = 16 + _STEP * number
    return image


def number_of(image: np.ndarray) -> int:
    """The number of a frame, from the upper part's red."""
    return round((float(image[: image.shape[0] // 3, :, 0].mean()) - 16) / _STEP)


def write_film(path, count: int, size=(64, 48), fps=25) -> None:
    with VideoWriter(path, size, fps) as video:
        for number in range(count):
            video.write(film_frame(number, size))
