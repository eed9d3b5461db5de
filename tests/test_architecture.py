"""The house rules: wings import downward, the engine has no Python, importing costs nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "rtmdx"
# each may import those before it
ORDER = ["space", "model", "runs", "report", "disparity", "sweep", "priority", "evaluate"]
TOP = {"cli", "demo"}
# the one call upward, made inside a method at run time
ALLOWED = {("model/terrain.py", "report")}


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rtmdx"):
            found.add(node.module)
            found |= {f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("rtmdx")}
    return {name.split(".")[1] for name in found if "." in name}


def test_wings_beside_each_other_know_nothing_of_each_other() -> None:
    for path in sorted((PACKAGE / "evaluate").rglob("*.py")):
        assert not imports(path) & {"disparity", "priority"}, path


@pytest.mark.parametrize("wing", ORDER)
def test_wings_import_downward(wing: str) -> None:
    above = set(ORDER[ORDER.index(wing) + 1 :]) | TOP
    for path in sorted((PACKAGE / wing).rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        wrong = {w for w in imports(path) & above if (name, w) not in ALLOWED}
        assert not wrong, f"{name} imports {wrong}"


def test_nothing_else_at_the_root_of_the_package() -> None:
    names = {
        p.name
        for p in PACKAGE.iterdir()
        if not p.name.startswith(
            ("__pycache__", "_engine", "_rates", "_rows", "_stats", "_tables", "_counts", "_priority")
        )
    }
    assert names == {"__init__.py", "errors.py", "cli.py", "py.typed", "demo", *ORDER}


def test_engine_has_no_python_and_prints_nothing() -> None:
    files = [*(ROOT / "engine" / "include").rglob("*.hpp"), *(ROOT / "engine" / "src").rglob("*.cpp")]
    assert files
    for path in files:
        assert not re.search(r"Python\.h|pybind11|<iostream>|printf|fast-math", path.read_text()), path


def test_ci_runs_the_readme_s_test_command() -> None:
    run = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in run
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- test -->\s*```bash\n(.*?)```", readme, re.DOTALL)
    assert block
    assert "pytest" in block[1]


def test_import_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "geopandas", "pydantic", "scipy", "ray"}
    code = f"import sys, rtmdx, rtmdx.disparity, rtmdx.evaluate; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    import rtmdx
    from rtmdx import disparity, evaluate

    for wing, home in ((disparity, "disparity"), (evaluate, "evaluate")):
        modules = {p.stem for p in (PACKAGE / home).glob("*.py")}
        assert not modules & set(wing.__all__)  # a module would hide the function
        assert sorted(wing.__all__) == dir(wing)
        for name in wing.__all__:
            assert getattr(wing, name).__name__ == name
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            wing.nothing  # noqa: B018
    for name in rtmdx.__all__:
        assert getattr(rtmdx, name) is not None
    assert set(rtmdx.__all__) <= set(dir(rtmdx))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rtmdx.nothing  # noqa: B018
