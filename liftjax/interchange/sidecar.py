"""The JSON beside an exported file. It says how to use the file without this package."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import liftjax
from liftjax.interchange.programs import Port, Program
from liftjax.interchange.verify import Check
from liftjax.registry import get_preset
from liftjax.runtime.checkpoints import licence_of


@dataclasses.dataclass(frozen=True)
class Origin:
    """A network's name and where its weights come from.

    Attributes:
      spec: the arguments of `checkpoints.build_model`.
      place: where the weights come from, in words, without a path.
      meta: the checkpoint's metadata; empty for fresh weights.
    """

    spec: dict[str, Any]
    place: str
    meta: Mapping[str, Any]


def text(
    file: Path,
    format: str,
    program: Program,
    origins: Sequence[Origin],
    check: Check,
    run: Sequence[str],
    **more: Any,
) -> str:
    """The JSON of an exported program.

    Args:
      origins: of its networks, in the order in which they run.
      run: lines of Python that run the file.
      more: entries that the format adds.
    """
    about = {
        "file": file.name,
        "format": format,
        **more,
        "written_by": {"liftjax": liftjax.__version__, "jax": jax.__version__},
        "head": program.head,
        "inputs": list(map(_port, program.inputs)),
        "outputs": list(map(_port, program.outputs)),
        "free_sizes": {"B": "batch, from 1"},
        **program.facts,
        "networks": list(map(_network, origins)),
        "checked": {
            "by": check.reader,
            "largest_difference_from_jax": check.difference,
            "as_share_of": "the range of the output's numbers",
        },
        "run": list(run),
    }
    return json.dumps(about, indent=2) + "\n"


def _port(port: Port) -> dict[str, Any]:
    return dataclasses.asdict(port) | {"shape": list(port.shape)}


def _network(origin: Origin) -> dict[str, Any]:
    spec = origin.spec
    preset = get_preset(spec["kind"], spec["name"])
    keywords = {k: v for k, v in spec.items() if k not in ("kind", "name")}
    unknown = "unknown" if "origin" in origin.meta else None  # ours have none
    return {
        "kind": spec["kind"],
        "name": spec["name"],
        "keywords": keywords,
        "paper": preset.paper,
        "licence": {
            "this_program": "Apache-2.0",
            "authors_code": preset.licence,
            "published_weights": licence_of(origin.meta) or unknown,
        },
        "weights": origin.place,
        "training_data": _training_data(origin.meta),
    }


def _training_data(meta: Mapping[str, Any]) -> dict[str, Any] | str:
    recipe = meta.get("recipe", {})
    if "data" not in recipe:
        source = meta.get("origin", {}).get("family")
        return f"that of the imported checkpoint ({source})" if source else "none"
    data = recipe["data"]
    folders = [Path(part).name for part in data["dir"].split(",")]
    used = {"sets": folders, "split": data.get("split")}
    used |= {"subjects": list(data["subjects"])} if data.get("subjects") else {}
    guided = list(recipe.get("lifters", {}))
    return used | ({"guided_by": guided} if guided else {})
