"""Reads the text of a compiled program: what it runs, how often, and what that moves and computes.

XLA's text (`compiled.as_text()`) lists computations; each line of one is an instruction. A device
runs the instructions of the entry computation one after the other. A fusion runs the instructions
of another computation as one; a loop runs those of its body again and again.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

_HEADER = re.compile(r"(ENTRY )?%(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_SHAPE = re.compile(r"\b([a-z]+[0-9]*(?:e[0-9]+m[0-9]+\w*)?)\[([0-9,]*)\](\{[^}]*\})?")
_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "token": 0, "c64": 8, "c128": 16}

# These give names to memory, or wait for what an earlier instruction began.
_FREE = re.compile(
    "parameter|constant|tuple|get-tuple-element|bitcast|after-all|partition-id|replica-id"
    "|opt-barrier|add-dependency|get-dimension-size|.*-done|async-update"
)
_MATRIX = {"convolution", "dot"}
_MOVING = {"parameter", "bitcast", "tuple", "copy", "transpose", "slice", "reshape", "broadcast"}
_SENT = {"all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"}
_ONCHIP = re.compile(r"S\([1-9]")  # memory of a TPU core, of semaphores, or of the host


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction that a device runs.

    Attributes:
      kind: what it does, in words (see `_kind`).
      source: the path of scopes and primitives that it was made from (JAX's `op_name`).
      times: how often it runs in one run of the program.
      bytes: what one run reads from and writes to the device's memory.
      flops: arithmetic of its convolutions and matrix products, two for a multiply-add.
      dtype: of the operands of these.
      cycles: the compiler's estimate for one run; 0 where it gives none.
    """

    kind: str
    source: str
    times: int
    bytes: int
    flops: int
    dtype: str
    cycles: int


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    type: str
    opcode: str
    rest: str  # operands and attributes

    @functools.cached_property
    def operands(self) -> list[str]:
        return re.findall(r"%([^\s,()]+)", self.rest.partition(")")[0])

    def attribute(self, name: str) -> str | None:
        """The computation that an attribute names."""
        found = re.search(rf"\b{name}=%([^\s,}}]+)", self.rest)
        return found and found[1]

    @property
    def called(self) -> str | None:
        return self.attribute("calls") or self.attribute("to_apply")

    @property
    def size(self) -> int:
        return _size(self.type)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the (first) array that it gives."""
        found = _SHAPE.search(self.type)
        return tuple(map(int, filter(None, found[2].split(","))))


class Program:
    """A compiled program.

    Args:
      text: `compiled.as_text()`.
    """

    def __init__(self, text: str):
        self._computations: dict[str, dict[str, _Instruction]] = {}
        current: dict[str, _Instruction] = {}
        for line in text.splitlines():
            if found := _INSTRUCTION.match(line):
                current[found[1]] = _Instruction(*found.groups())
            elif found := _HEADER.match(line):
                current = self._computations[found[2]] = {}
                if found[1]:
                    self._entry = found[2]

    def operations(self) -> list[Operation]:
        """Everything that one run of the program runs."""
        return list(self._run(self._entry, 1))

    def _run(self, computation: str, times: int) -> Iterator[Operation]:
        instructions = self._computations[computation]
        for instruction in instructions.values():
            opcode = instruction.opcode
            if opcode == "while":
                turns = self._turns(instruction)
                yield from self._run(instruction.attribute("body"), times * turns)
            elif opcode == "call":
                yield from self._run(instruction.attribute("to_apply"), times)
            elif opcode == "conditional":
                yield from self._run(self._longest_branch(instruction), times)
            elif not _FREE.fullmatch(opcode):
                yield self._operation(instruction, instructions, times)

    def _turns(self, loop: _Instruction) -> int:
        """How often a loop runs: as the text says, or the constant in the loop's condition."""
        if found := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(found[1])
        waiting, constants = [loop.attribute("condition")], []
        while waiting:
            for instruction in self._computations[waiting.pop()].values():
                if instruction.called:
                    waiting.append(instruction.called)
                if instruction.opcode == "constant" and instruction.type.startswith("s32[]"):
                    constants.append(int(instruction.rest.partition(")")[0]))
        return max(constants, default=1)

    def _longest_branch(self, conditional: _Instruction) -> str:
        found = re.search(r"branch_computations=\{([^}]*)\}", conditional.rest)
        names = re.findall(r"%([^\s,}]+)", found[1]) if found else []
        names += filter(None, map(conditional.attribute, ("true_computation", "false_computation")))
        return max(names, key=lambda name: len(self._computations[name]))

    def _operation(self, instruction, instructions, times) -> Operation:
        fused = self._fused(instruction)
        matrices = [pair for pair in fused if pair[0].opcode in _MATRIX] or (
            [(instruction, instructions)] if instruction.opcode == "custom-call" else []
        )
        cycles = re.search(r'"estimated_cycles":"(\d+)"', instruction.rest)
        source = re.search(r'op_name="((?:[^"\\]|\\.)*)"', instruction.rest)
        return Operation(
            kind=_kind(instruction, [inner for inner, _ in fused]),
            source=source[1] if source else "",
            times=times,
            bytes=self._moved(instruction, instructions),
            flops=sum(_flops(*pair) for pair in matrices),
            dtype=_operand_dtype(*matrices[0]) if matrices else "",
            cycles=int(cycles[1]) if cycles else 0,
        )

    def _fused(self, instruction) -> list[tuple[_Instruction, dict]]:
        """An instruction and those that are fused into it, with their neighbours."""
        called = instruction.called
        if instruction.opcode not in ("fusion", "async-start") or called is None:
            return [(instruction, {})]
        found = []
        inside = self._computations[called]
        for inner in inside.values():
            if inner.opcode == "fusion":
                found += self._fused(inner)
            else:
                found.append((inner, inside))
        return found

    def _moved(self, instruction, instructions) -> int:
        """Bytes of memory that one run of an instruction reads and writes."""
        opcode = instruction.opcode
        if opcode.endswith("-start"):  # (operand, result, ...): it reads one and writes the other
            arrays = [_layout_size(found) for found in _SHAPE.finditer(instruction.type)][:2]
            return sum(arrays)
        read = [instructions[name] for name in dict.fromkeys(instruction.operands)]
        if opcode == "dynamic-update-slice":
            return 2 * read[1].size
        if opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * instruction.size
        written, sizes = instruction.size, {operand.name: operand.size for operand in read}
        if opcode == "custom-call":
            written = _size_without_workspace(instruction.type)
        if opcode == "fusion":
            inside = self._computations[instruction.called]
            written, sizes = self._moved_by_fusion(instruction, inside, read)
        return written + sum(sizes.values())

    def _moved_by_fusion(self, fusion, inside, read) -> tuple[int, dict[str, int]]:
        """Bytes written, and bytes read of each operand; only slices, where slices are used."""
        users: dict[str, list[_Instruction]] = {}
        for inner in inside.values():
            for operand in inner.operands:
                users.setdefault(operand, []).append(inner)
        numbered = {
            int(inner.rest.partition(")")[0]): inner
            for inner in inside.values()
            if inner.opcode == "parameter"
        }
        written, sizes, in_place = fusion.size, {}, set()
        for inner in inside.values():
            if inner.opcode == "dynamic-update-slice":
                target = _through_bitcasts(inner.operands[0], inside)
                if target.opcode == "parameter":
                    written += inside[inner.operands[1]].size - target.size
                    in_place.add(target.name)
        for number, parameter in numbered.items():
            operand = fusion.operands[number]
            using = _users_through_bitcasts(parameter.name, users)
            sliced = [user for user in using if user.opcode in ("dynamic-slice", "slice", "gather")]
            if parameter.name in in_place:
                size = 0
            elif using and len(sliced) == len(using) and "S(" not in parameter.type:
                size = min(parameter.size, sum(user.size for user in sliced))
            else:
                size = parameter.size if read else 0
            sizes[operand] = max(sizes.get(operand, 0), size)
        return written, sizes


def _through_bitcasts(name: str, inside: dict[str, _Instruction]) -> _Instruction:
    while inside[name].opcode == "bitcast":
        name = inside[name].operands[0]
    return inside[name]


def _users_through_bitcasts(name: str, users: dict[str, list]) -> list[_Instruction]:
    found = []
    for user in users.get(name, ()):
        if user.opcode == "bitcast":
            found += _users_through_bitcasts(user.name, users)
        else:
            found.append(user)
    return found


def _layout_size(found: re.Match) -> int:
    """Bytes of an array in the device's memory; 0 where its layout names another memory."""
    dtype, dimensions, layout = found.groups()
    if layout and _ONCHIP.search(layout):
        return 0
    width = _BYTES.get(dtype) or math.ceil(int(re.sub(r"\D.*", "", dtype.lstrip("sufb"))) / 8)
    return width * math.prod(map(int, filter(None, dimensions.split(","))))


def _size(type_: str) -> int:
    """Bytes of an array, or of all arrays of a tuple."""
    return sum(_layout_size(found) for found in _SHAPE.finditer(type_))


def _size_without_workspace(type_: str) -> int:
    """What a library's call writes: its results, and not the scratch memory beside them."""
    arrays = list(_SHAPE.finditer(type_))
    if len(arrays) > 1 and arrays[-1][1] in ("s8", "u8"):
        arrays.pop()
    return sum(map(_layout_size, arrays))


def _kind(instruction: _Instruction, fused: list[_Instruction]) -> str:
    """What an instruction does, in words."""
    opcodes = {inner.opcode for inner in fused}
    opcode = instruction.opcode.removesuffix("-start")
    target = re.search(r'custom_call_target="([^"]*)"', instruction.rest)
    library = target[1] if target else ""
    if "cudnn" in library or "convolution" in opcodes:
        return "convolutions"
    if "cublas" in library or "gemm" in library.lower() or "dot" in opcodes:
        return "matrix products"
    if opcode in _SENT or opcodes & _SENT:
        return "sums and gathers over devices"
    if library:
        return f"calls of {library}"
    if "reduce" in opcodes or "reduce-window" in opcodes:
        return "sums over maps"
    if "dynamic-update-slice" in opcodes:
        return "writing into stacks"
    if "dynamic-slice" in opcodes:
        return "reading from stacks"
    if opcodes <= {"constant", "broadcast", "bitcast"}:
        return "filling with a constant"
    if opcodes <= _MOVING:
        return "copies"
    return "elementwise"


def _operand_dtype(instruction: _Instruction, neighbours: dict) -> str:
    operand = neighbours.get(instruction.operands[0]) if instruction.operands else None
    found = _SHAPE.search(operand.type if operand else instruction.type)
    return found[1] if found else ""


def _flops(instruction: _Instruction, neighbours: dict[str, _Instruction]) -> int:
    """Twice the multiply-adds of a convolution or a matrix product."""
    shapes = [neighbours[name].shape for name in instruction.operands if name in neighbours]
    if len(shapes) < 2:
        return 0
    out = instruction.shape
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.rest)
    if labels:
        target = re.search(r"__cudnn\$conv(\w+)", instruction.rest)
        kernel, y = shapes[1], out
        if target and target[1] == "BackwardInput":
            y = shapes[0]
        elif target and target[1] == "BackwardFilter":
            kernel, y = out, shapes[1]
        return 2 * math.prod(y) * math.prod(kernel) // kernel[labels[2].index("o")]
    contracted = re.search(
        r'lhs_contracting_dim(?:ension)?s"?[=:][{\[]([^}\]]*)[}\]]', instruction.rest
    )
    if not contracted:
        return 0
    axes = [int(axis) for axis in re.findall(r"\d+", contracted[1])]
    return 2 * math.prod(out) * math.prod(shapes[0][axis] for axis in axes)
