"""Kinds of state that no optimizer touches, beside nnx.BatchStat."""

from flax import nnx


class Constant(nnx.Variable):
    """A fixed array that belongs to the weights: loaded and dumped with them, never trained."""


class Derived(Constant):
    """A constant that follows from the configuration; a state_dict may leave it out."""


class Statistic(nnx.Variable):
    """A measured property of the training data, saved by us and unknown to a state_dict."""
