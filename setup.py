"""What pyproject.toml cannot say: where recipes are installed, which requirements are extras."""

from pathlib import Path

from setuptools import find_packages, setup


def parts(path: str) -> dict[str, list[str]]:
    """The requirements of a file by the heading "# [NAME]" above them; "" stands for none."""
    found, name = {"": []}, ""
    for line in Path(path).read_text().splitlines():
        if line.startswith("# ["):
            name = line[3:].partition("]")[0]
            found[name] = []
        elif line and line[0] not in "#-":
            found[name].append(line)
    return found


extras = parts("requirements.txt")
core = extras.pop("")
extras["data"] += extras["video"]  # most recordings are videos
extras["all"] = sorted({line for extra in extras.values() for line in extra})
extras |= {name: lines for name, lines in parts("tests/requirements.txt").items() if name}
extras["cuda"] = ["jax[cuda13]"]
extras["tpu"] = ["jax[tpu]"]
extras["gcs"] = ["etils[epath-gcs]", "google-cloud-storage"]  # the latter for TensorBoard

setup(
    install_requires=core,
    extras_require=extras,
    # A package `configs` of its own would hide a user's folder of that name, or be hidden by it.
    packages=[*find_packages(include=["liftjax*", "data_prep*"]), "liftjax.configs"],
    package_dir={"liftjax.configs": "configs"},
)
