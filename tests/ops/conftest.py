import jax
import jax.numpy as jnp
import pytest

from liftjax.ops import onednn


@pytest.fixture(params=["oneDNN", "XLA"])
def computed_by(request, monkeypatch):
    """Who computes on a CPU; both give the same numbers."""
    if request.param == "oneDNN" and not onednn.usable(jnp.float32):
        pytest.skip("oneDNN cannot be called here")
    if request.param == "XLA":
        monkeypatch.setattr(onednn, "usable", lambda dtype: False)
        jax.clear_caches()
    yield
    if request.param == "XLA":
        jax.clear_caches()
