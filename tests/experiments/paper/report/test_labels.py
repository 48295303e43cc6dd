import itertools

import numpy as np
from matplotlib.text import Text

from liftjax.experiments.paper.report.labels import place_labels
from liftjax.visualize import new_figure


def boxes(axes):
    axes.get_figure().canvas.draw()
    renderer = axes.get_figure().canvas.get_renderer()
    # Of an annotation's text without its line.
    return [Text.get_window_extent(text, renderer) for text in axes.texts]


def test_names_of_crowded_points_do_not_cover_each_other():
    figure = new_figure(5, 4)
    axes = figure.subplots()
    points = np.random.default_rng(0).normal(0, 0.1, (14, 2)) + 5.0
    axes.set(xlim=(4, 6), ylim=(4, 6))
    place_labels(axes, points, [f"joint {i}" for i in range(14)], ["black"] * 14, fontsize=7)
    frame = axes.get_window_extent()
    for a, b in itertools.combinations(boxes(axes), 2):
        shared = a.intersection(a, b)
        assert shared is None or shared.width * shared.height < 0.05 * a.width * a.height
    for box in boxes(axes):
        assert frame.x0 - 1 <= box.x0
        assert box.x1 <= frame.x1 + 1


def test_a_name_keeps_off_error_bars():
    figure = new_figure(5, 4)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    place_labels(axes, [(5, 5)], ["knee"], ["black"], [((5, 2), (5, 8)), ((2, 5), (8, 5))])
    (box,) = boxes(axes)
    x, y = axes.transData.transform((5, 5))
    assert box.x0 > x or box.x1 < x
    assert box.y0 > y or box.y1 < y
