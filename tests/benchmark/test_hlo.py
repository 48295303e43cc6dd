"""The text of compiled programs: what runs, how often, and what it moves and computes."""

import textwrap

import jax
import jax.numpy as jnp
import pytest

from liftjax.benchmark.account import account, layer
from liftjax.benchmark.chips import find_chip
from liftjax.benchmark.hlo import Program
from liftjax.nn.operations import multiply_adds

MAP = 64 * 96 * 72 * 32 * 2  # bytes of bf16[64,96,72,32]


def operations(text: str):
    return Program(textwrap.dedent(text).strip("\n")).operations()


def compiled(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return Program(text).operations(), multiply_adds(function, *arguments)


def test_products_in_loops_are_counted_as_in_the_traced_program():
    def function(x, weights):
        def body(x, weight):
            return jnp.tanh(x @ weight), None

        return jax.lax.scan(body, x, weights)[0]

    found, expected = compiled(function, (40, 64), (7, 64, 64))
    assert sum(o.times * o.flops for o in found) == 2 * expected > 0


@pytest.mark.parametrize("strides", [1, 2])
def test_convolutions_are_counted_as_in_the_traced_program(strides):
    def function(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (strides, strides), "SAME", dimension_numbers=numbers
        )

    found, expected = compiled(function, (2, 12, 8, 16), (3, 3, 16, 24))
    assert sum(o.times * o.flops for o in found) == 2 * expected > 0


def test_an_elementwise_pass_reads_and_writes_its_arrays():
    found, _ = compiled(lambda x, y: jnp.tanh(x) + y, (100, 30), (1, 30))
    assert sum(o.bytes for o in found) == 4 * (2 * 3000 + 30)


def test_library_calls_of_a_gpu():
    """The three passes of a 3x3 convolution do the same arithmetic; workspaces are not traffic."""
    found = operations("""
        ENTRY %main (x: bf16[64,96,72,32], k: bf16[16,3,3,32]) -> bf16[16,3,3,32] {
          %x = bf16[64,96,72,32]{3,2,1,0} parameter(0)
          %k = bf16[16,3,3,32]{3,2,1,0} parameter(1)
          %c.1 = (bf16[64,96,72,16]{3,2,1,0}, u8[99]{0}) custom-call(%x, %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
          %y = bf16[64,96,72,16]{3,2,1,0} get-tuple-element(%c.1), index=0
          %c.2 = (bf16[64,96,72,32]{3,2,1,0}, u8[0]{0}) custom-call(%y, %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
          %c.3 = (bf16[16,3,3,32]{3,2,1,0}, u8[0]{0}) custom-call(%x, %y), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
          ROOT %dk = bf16[16,3,3,32]{3,2,1,0} get-tuple-element(%c.3), index=0
        }
        """)  # noqa: E501
    kernel = 16 * 9 * 32
    assert [o.kind for o in found] == ["convolutions"] * 3
    assert {o.flops for o in found} == {2 * 64 * 96 * 72 * kernel}
    assert {o.bytes for o in found} == {MAP + MAP // 2 + 2 * kernel}
    assert {o.dtype for o in found} == {"bf16"}


def test_a_stack_is_written_slice_by_slice():
    """Two loops: one says how often it runs, the other has it in its condition."""
    found = operations("""
        %write (s: f32[4,1000], v: f32[1000], i: s32[]) -> f32[4,1000] {
          %s = f32[4,1000]{1,0} parameter(0)
          %v = f32[1000]{0} parameter(1)
          %i = s32[] parameter(2)
          %r = f32[1,1000]{1,0} bitcast(%v)
          %z = s32[] constant(0)
          ROOT %d = f32[4,1000]{1,0} dynamic-update-slice(%s, %r, %i, %z)
        }
        %body (p: (s32[], f32[4,1000], f32[1000])) -> (s32[], f32[4,1000], f32[1000]) {
          %p = (s32[], f32[4,1000]{1,0}, f32[1000]{0}) parameter(0)
          %i = s32[] get-tuple-element(%p), index=0
          %s = f32[4,1000]{1,0} get-tuple-element(%p), index=1
          %v = f32[1000]{0} get-tuple-element(%p), index=2
          %f = f32[4,1000]{1,0} fusion(%s, %v, %i), kind=kLoop, calls=%write, metadata={op_name="jit(f)/jvp(detector)/stem/while/body/write"}
          ROOT %t = (s32[], f32[4,1000]{1,0}, f32[1000]{0}) tuple(%i, %f, %v)
        }
        %until (p: (s32[], f32[4,1000], f32[1000])) -> pred[] {
          %p = (s32[], f32[4,1000]{1,0}, f32[1000]{0}) parameter(0)
          %i = s32[] get-tuple-element(%p), index=0
          %n = s32[] constant(3)
          ROOT %c = pred[] compare(%i, %n), direction=LT
        }
        ENTRY %main (a: (s32[], f32[4,1000], f32[1000])) -> (s32[], f32[4,1000], f32[1000]) {
          %a = (s32[], f32[4,1000]{1,0}, f32[1000]{0}) parameter(0)
          %w = (s32[], f32[4,1000]{1,0}, f32[1000]{0}) while(%a), condition=%until, body=%body, backend_config={"known_trip_count":{"n":"4"}}
          ROOT %x = (s32[], f32[4,1000]{1,0}, f32[1000]{0}) while(%w), condition=%until, body=%body
        }
        """)  # noqa: E501
    assert [o.times for o in found] == [4, 3]
    assert {o.bytes for o in found} == {4 * 2000 + 4}
    assert {o.kind for o in found} == {"writing into stacks"}
    assert {layer(o.source) for o in found} == {"detector/stem"}


def test_cycles_and_memories_of_a_tpu():
    """S(1) is the core's own memory; what is copied beside the core takes none of its time."""
    text = """
        %fused (p: bf16[64,96,72,32]) -> (f32[32], bf16[64,96,72,32]) {
          %p = bf16[64,96,72,32]{0,3,2,1:T(8,128)(2,1)} parameter(0)
          %z = f32[]{:T(128)} constant(0)
          %c = f32[64,96,72,32]{0,3,2,1:T(8,128)} convert(%p)
          %r = f32[32]{0:T(128)S(1)} reduce(%c, %z), dimensions={0,1,2}, to_apply=%add
          ROOT %t = (f32[32]{0:T(128)S(1)}, bf16[64,96,72,32]{0,3,2,1:T(8,128)(2,1)}) tuple(%r, %p)
        }
        ENTRY %main (x: bf16[64,96,72,32]) -> bf16[64,96,72,32] {
          %x = bf16[64,96,72,32]{0,3,2,1:T(8,128)(2,1)} parameter(0)
          %k = f32[32]{0:T(128)} constant({...})
          %s = (f32[32]{0:T(128)S(1)}, f32[32]{0:T(128)}, u32[]{:S(2)}) copy-start(%k), backend_config={"flag_configs":[]}
          %d = f32[32]{0:T(128)S(1)} copy-done(%s)
          %f = (f32[32]{0:T(128)S(1)}, bf16[64,96,72,32]{0,3,2,1:T(8,128)(2,1)}) fusion(%x), kind=kLoop, calls=%fused, backend_config={"window_config":{"estimated_cycles":"1500"}}
          ROOT %g = bf16[64,96,72,32]{0,3,2,1:T(8,128)(2,1)} get-tuple-element(%f), index=1
        }
        """  # noqa: E501
    copy, fusion = operations(text)
    assert (copy.bytes, copy.cycles) == (128, 0)
    assert (fusion.bytes, fusion.cycles, fusion.kind) == (2 * MAP, 1500, "sums over maps")
    found = account(textwrap.dedent(text), find_chip("v5e:2x2"), flops=197 * 10**5)
    assert found["seconds"] == 1e-6
    assert found["share_of_peak"] == pytest.approx(0.1)
    assert found["kinds"]["sums over maps"]["launches"] == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("jit(step)/jvp(detector)/stage2/fuse/add", "detector/stage2/fuse"),
        ("jit(step)/shard_map/transpose(jvp(detector))/stage2/branches/x/add",
         "detector/stage2/branches"),
        ("jit(step)/transpose(jvp(detector))/stem/rematted_computation/detector/stem/fuse/add",
         "detector/stem/fuse"),
        ("jit(step)/optimizer/mul", "optimizer"),
        ("jit(step)/transpose(jvp())/while/body/mul", "-"),
        ("", "-"),
    ],
)  # fmt: skip
def test_the_layer_of_an_operation(source, expected):
    assert layer(source) == expected
