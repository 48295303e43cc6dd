"""The one place that sets XLA flags.

They count only when set before jax starts, so the command line calls :func:`configure` first. A
flag that the user has set in XLA_FLAGS is left alone.
"""

import os

# The CPU backend's fusion pass copies a residual network's whole forward chain into every
# consumer of its backward pass.
CPU_FLAGS: tuple[str, ...] = ()


def configure() -> None:
    """Adds the flags to XLA_FLAGS and quiets the start-up chatter of the native libraries."""
    given = os.environ.get("XLA_FLAGS", "")
    added = [flag for flag in CPU_FLAGS if flag.split("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *added]).strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
