"""Where a video's pixels sit in the calibrated picture."""

import numpy as np


def image_to_video(image_size: tuple[int, int], video_size: tuple[int, int]) -> np.ndarray:
    """(2, 3) affine from image pixels to the pixels of a video scaled to fit and centred.

    Video software that changes the picture's shape keeps the aspect and adds black bars. Pixel
    centres are integers, hence the halves.
    """
    image, video = np.asarray(image_size, float), np.asarray(video_size, float)
    scale = (video / image).min()
    shift = (video - scale * image) / 2 + (scale - 1) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
