"""The README's example and study run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rtmdx.runs.study import Study

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(marker: str, language: str) -> str:
    found = re.search(rf"{marker}\s*```{language}\n(.*?)```", README, re.DOTALL)
    assert found, marker
    return found[1]


def test_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block("<!-- example -->", "python"), "README.md", "exec"), names)
    exec(compile(block("<!-- engine -->", "python"), "README.md", "exec"), names)
    assert (tmp_path / "far.zarr").is_dir()
    assert "RiskTerrain('Demo city 1'" in capsys.readouterr().out
    assert (tmp_path / "score.tif").exists()
    assert (tmp_path / "report.html").exists()


def test_study_example(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(block("", "toml"))
    study = Study.from_toml(tmp_path / "study.toml")
    assert [f.layer for f in study.factors] == ["bars", "parks", "clinics", None]
    assert study.impedance is not None
    assert [b.layer for b in study.impedance.barriers] == ["river"]
