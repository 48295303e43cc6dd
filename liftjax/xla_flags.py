"""The one place that sets XLA flags and the native libraries' verbosity.

They count only when set before jax starts, so the command line calls :func:`configure` first. What
the user has set is left alone. No XLA flag is set today: on a CPU, disabling the fusion pass makes
the small networks 30 % slower and the soft-argmax ten times, and the YNNPACK fusion types help
single convolutions but no whole training step.
"""

import os

XLA_FLAGS: tuple[str, ...] = ()


def configure() -> None:
    """Adds the flags to XLA_FLAGS and quiets the start-up chatter of the native libraries."""
    given = os.environ.get("XLA_FLAGS", "")
    added = [flag for flag in XLA_FLAGS if flag.split("=")[0] not in given]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([given, *added]).strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
