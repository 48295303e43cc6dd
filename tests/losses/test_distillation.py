import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import losses
from tests.losses.arrays import normal


def vectors():
    """SimCC logits of a student, (x, y), and of its teacher."""
    return (normal(2, 3, 8), normal(2, 3, 6)), (normal(2, 3, 8), normal(2, 3, 6))


def test_feature_loss_is_a_sum_over_the_map_and_a_mean_over_samples():
    student, teacher = normal(2, 4, 3, 5), normal(2, 4, 3, 5)
    by_hand = np.square(np.asarray(student - teacher, np.float64)).sum() / 2
    assert float(losses.feature_loss(student, teacher)) == pytest.approx(by_hand, rel=1e-6)


def test_logit_loss_by_hand():
    (x, y), (teacher_x, teacher_y) = vectors()
    beta, expected = 10.0, 0.0
    for student, teacher in ((x, teacher_x), (y, teacher_y)):
        for b in range(2):
            for k in range(3):
                p, q = (np.asarray(v[b, k], np.float64) * beta for v in (student, teacher))
                p, q = (np.exp(v - v.max()) / np.exp(v - v.max()).sum() for v in (p, q))
                expected += (q * np.log(q / p)).sum() / (2 * 3)
    value = losses.logit_loss(x, y, teacher_x, teacher_y, beta)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn():
    feature, (_, (x, y)) = normal(2, 4, 3, 5), vectors()
    loss, slope = jax.value_and_grad(losses.feature_loss)(feature, feature)
    assert float(loss) == 0
    assert not slope.any()
    loss, slopes = jax.value_and_grad(losses.logit_loss, argnums=(0, 1))(x, y, x, y)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert max(float(jnp.abs(slope).max()) for slope in slopes) < 1e-6
    # A shift of all logits of a vector is no difference.
    assert float(losses.logit_loss(x + 1, y - 2, x, y)) == pytest.approx(0, abs=1e-5)


def test_no_gradient_reaches_the_teacher():
    student, teacher = normal(2, 4, 3, 5), normal(2, 4, 3, 5)
    assert not jax.grad(losses.feature_loss, argnums=1)(student, teacher).any()
    students, teachers = vectors()
    for slope in jax.grad(losses.logit_loss, argnums=(2, 3))(*students, *teachers):
        assert not slope.any()


def test_masked_samples_are_as_good_as_absent():
    weight = jnp.asarray([1.0, 0.0])
    student, teacher = normal(2, 4, 3, 5), normal(2, 4, 3, 5).at[1].set(jnp.nan)
    value = losses.feature_loss(student, teacher, weight)
    assert float(value) == pytest.approx(float(losses.feature_loss(student[:1], teacher[:1])))
    students, teachers = vectors()
    value = losses.logit_loss(*students, *teachers, sample_weight_B=weight)
    first = [v[:1] for v in (*students, *teachers)]
    assert float(value) == pytest.approx(float(losses.logit_loss(*first)), rel=1e-6)


def test_low_precision_is_raised():
    low = [v.astype(jnp.bfloat16) for pair in vectors() for v in pair]
    assert losses.logit_loss(*low).dtype == jnp.float32
    feature = normal(2, 4, 3, 5).astype(jnp.bfloat16)
    assert losses.feature_loss(feature, feature).dtype == jnp.float32


def test_shape_mismatches_raise():
    with pytest.raises(ValueError, match=r"student's features .*\(2, 4, 3, 5\)"):
        losses.feature_loss(normal(2, 4, 3, 5), normal(2, 4, 3, 6))
    (x, y), (teacher_x, _) = vectors()
    with pytest.raises(ValueError, match="y logits"):
        losses.logit_loss(x, y, teacher_x, x)
