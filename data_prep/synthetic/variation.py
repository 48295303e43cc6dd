"""Random numbers that vary smoothly in time, for many motions at once.

A motion is a sequence of episodes of a few seconds. A draw holds for one episode and changes
smoothly to the next one. All draws of a motion change at the same time. Arrays have axes (M, F):
motions and frames.
"""

import numpy as np

from data_prep.synthetic.subjects import Subject

_EPISODE_S = 4.0
_PASSAGE = 0.4  # the last share of an episode, which leads over to the next one


def smooth(x: np.ndarray) -> np.ndarray:
    """Rises from 0 at x = 0 to 1 at x = 1 with level ends."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


class Variation:
    """A source of smoothly varying random arrays.

    Args:
      rng: where the randomness comes from.
      times: (M, F) seconds, the frames at which every draw is wanted.
    """

    def __init__(self, rng: np.random.Generator, times: np.ndarray):
        self.rng, self.times = rng, times
        self.num_motions, self.num_frames = times.shape
        position = (times - times.min()) / _EPISODE_S + rng.uniform(size=(self.num_motions, 1))
        self.episode = np.floor(position).astype(int)
        self.num_episodes = int(self.episode.max()) + 2
        self._progress = (position - self.episode - (1 - _PASSAGE)) / _PASSAGE
        self._motion = np.arange(self.num_motions)[:, None]

    def blend(self, knots: np.ndarray, start: float = 0.0, end: float = 1.0):
        """Values (M, F, ...) at all frames, of the values `knots` (M, E, ...) of episodes.

        The change takes place between `start` and `end`, which are shares of the passage. The
        second result is the share of the change that is done (M, F).
        """
        done = smooth((self._progress - start) / (end - start))
        w = done.reshape(done.shape + (1,) * (knots.ndim - 2))
        before, after = (knots[self._motion, self.episode + i] for i in (0, 1))
        return (1 - w) * before + w * after, done

    def knots(self, low, high, *shape: int) -> np.ndarray:
        """(M, E, *shape) uniform draws, one for each episode."""
        return self.rng.uniform(low, high, (self.num_motions, self.num_episodes, *shape))

    def uniform(self, low, high, *shape: int) -> np.ndarray:
        """(M, F, *shape) uniform draws, held for an episode."""
        return self.blend(self.knots(low, high, *shape))[0]

    def choice(self, *weights: float) -> np.ndarray:
        """(M, F, V) shares of V options with these odds; in an episode one is 1, the others 0."""
        edges = np.cumsum(weights) / np.sum(weights)
        picked = (self.knots(0, 1)[..., None] > edges[:-1]).sum(axis=-1)
        return self.blend(np.eye(len(weights))[picked])[0]

    def fixed(self, low, high, *shape: int) -> np.ndarray:
        """(M, 1, *shape) uniform draws that hold for the whole motion."""
        return self.rng.uniform(low, high, (self.num_motions, 1, *shape))

    def coin(self, chance: float) -> np.ndarray:
        """(M, 1) True with this chance, for the whole motion."""
        return self.fixed(0, 1) < chance

    def wander(self, amplitude, *shape: int, pace: float = 0.35) -> np.ndarray:
        """(M, F, *shape) smooth noise around 0 with this standard deviation; pace in Hz."""
        waves = (self.num_motions, 1, *shape, 3)
        rate = 2 * np.pi * pace * self.rng.uniform(0.3, 1.7, waves)
        phase = self.rng.uniform(0, 2 * np.pi, waves)
        times = self.times.reshape(self.times.shape + (1,) * (len(shape) + 1))
        return amplitude * np.sin(rate * times + phase).sum(axis=-1) * np.sqrt(2 / 3)

    def phase(self, low: float, high: float) -> np.ndarray:
        """(M, F) cycles counted from a random start, at a rate between low and high (Hz)."""
        return self.fixed(low, high) * self.times + self.fixed(0, 1)

    def pulse(self, low: float, high: float, share: float = 0.5) -> np.ndarray:
        """(M, F) smooth pulses from 0 to 1 that are up for a `share` of the time; rate in Hz."""
        cycle = self.phase(low, high) % 1.0
        ramp = 0.3 * min(share, 1 - share)
        return smooth((cycle - ramp) / (2 * ramp)) * smooth((share + 3 * ramp - cycle) / (2 * ramp))


class Actor(Variation):
    """A subject who moves at random.

    Args:
      subject: the body.
      half_size: the pelvis stays within this distance (m) of the room's middle, along x and y.
      rng, times: see :class:`Variation`.
    """

    def __init__(self, subject: Subject, half_size: float, rng: np.random.Generator, times):
        super().__init__(rng, times)
        self.subject, self.half_size = subject, half_size
