"""Every primitive of a traced program, for tests that look at what is computed and how."""

from collections.abc import Iterator


def equations(jaxpr, platform: str) -> Iterator:
    """The equations of `jaxpr` and of all that it calls, as they are for `platform`."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation.params, platform):
            yield from equations(inner, platform)


def _inner(params: dict, platform: str) -> Iterator:
    if params.get("branches_platforms"):
        named = zip(params["branches"], params["branches_platforms"], strict=True)
        # The first that names the platform, or the last one: it names none.
        branch = next(b for b, names in named if names is None or platform in names)
        params = {"branches": (branch,)}
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
