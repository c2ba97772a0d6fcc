"""Consistency of the packaging files."""

import re
import tomllib

from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
RECIPE = (ROOT / "conda" / "recipe.yaml").read_text("utf-8")


def test_the_conda_recipe_asks_for_the_same_packages():
    run = RECIPE[RECIPE.index("  run:") : RECIPE.index("tests:")]
    asked = {name: bound for name, bound in re.findall(r"- (\S+) (>=\S+)", run) if name != "python"}
    wanted = dict(re.match(r"([\w-]+)(>=[^;]+)", each).groups() for each in PROJECT["dependencies"])
    assert asked == wanted
    assert RECIPE.count(f"python {PROJECT['requires-python']}") == 2


def test_versions_agree():
    version = PROJECT["version"]
    assert f"  version: {version}\n" in RECIPE
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_extra_of_the_project_is_pinned():
    """All extras except 'dev', whose tools are pinned in pyproject.toml."""
    normal = re.compile(r"[-_.]+")
    pins = {
        normal.sub("-", line.split("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    }
    extras = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(each for name, group in extras.items() if name != "dev" for each in group)]
    for requirement in named:
        name = normal.sub("-", re.match(r"[\w.-]+", requirement)[0]).lower()
        assert name in pins or name == "geocloud", requirement
