"""A peer in a process of its own: it loads its data, says so, and fits each time it is told to.

The benchmark so times the fit alone, from outside, whatever language the peer is in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from numpy.typing import NDArray

HERE = Path(__file__).parent
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """What a peer found: path of the fit to all cells, and its curve of held-out deviance per cell."""

    coefficients: Float
    intercepts: Float
    deviance: Float

    @classmethod
    def read(cls, folder: Path) -> Answer:
        sizes = np.fromfile(folder / "answer_sizes", dtype="<i4")
        b = np.fromfile(folder / "answer_b").reshape(sizes)
        return cls(b, np.fromfile(folder / "answer_b0"), np.fromfile(folder / "answer_deviance"))


class Worker:
    """A running peer.

    Parameters
    ----------
    command : list of str
    log : Path
        Where the peer's messages go.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        self._file = log.open("w")
        env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
        env.pop("PYTHONPATH", None)  # the peer may be another Python
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._file, text=True, env=env
        )
        self._expect("ready")

    def _expect(self, word: str) -> list[str]:
        out: IO[str] | None = self._process.stdout
        assert out is not None
        for line in out:
            if line.split()[:1] == [word]:
                return line.split()[1:]
            self._file.write(line)
        self._file.flush()
        raise RuntimeError(f"{self._process.args} ended before it said {word!r}:\n{self.log.read_text()[-2000:]}")

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def fit(self) -> float:
        """Fit once; returns the seconds the peer itself counted."""
        self._say("go")
        return float(self._expect("done")[0])

    def peak(self) -> float:
        """Most memory its process has held, MB, its matrix included (Linux; NaN elsewhere)."""
        status = Path(f"/proc/{self._process.pid}/status")
        if not status.exists():
            return float("nan")
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6

    def close(self) -> None:
        """Have the answer written, and end the process."""
        self._say("save")
        self._expect("saved")
        self.end()

    def end(self) -> None:
        """End the process, if it still runs."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._file.close()


def rscript(*packages: str) -> str:
    """Path of Rscript; skips the benchmark where it or one of the packages is absent."""
    path = shutil.which("Rscript")
    if path is None:
        pytest.skip(f"R is not here: apt-get install {' '.join(f'r-cran-{p.lower()}' for p in packages)}")
    wanted = ", ".join(f"'{p}'" for p in packages)
    code = f"cat(setdiff(c({wanted}), rownames(installed.packages())))"
    absent = subprocess.run([path, "-e", code], capture_output=True, text=True, check=True).stdout.split()
    if absent:
        pytest.skip(f"R lacks {', '.join(absent)}: apt-get install {' '.join(f'r-cran-{p.lower()}' for p in absent)}")
    return path


def python_with(module: str) -> str:
    """A Python that has `module`: this one, or that of RTMDX_PEERS_PYTHON; skips the benchmark if neither has it.

    adelie needs NumPy 1: it can only live in an environment of its own (benchmarks/peers/requirements.txt).
    """
    for python in (os.environ.get("RTMDX_PEERS_PYTHON"), sys.executable):
        if python and subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            return python
    pytest.skip(f"{module} is not here: see benchmarks/peers/requirements.txt")


def cv_glmnet(folder: Path, *, mixing: float, thresh: float, dense: bool = False, parallel: bool = False) -> Worker:
    """cv.glmnet on the rows written in `folder`."""
    r = rscript("glmnet", "Matrix", *(["doParallel"] if parallel else []))
    options = [str(mixing), repr(thresh), "dense" if dense else "sparse", "2" if parallel else "1"]
    return Worker([r, str(HERE / "cv_glmnet.R"), str(folder), *options], folder / "glmnet.log")


def step_aic(folder: Path, family: str) -> Worker:
    """MASS::stepAIC on the columns written in `folder`."""
    return Worker([rscript("MASS"), str(HERE / "step_aic.R"), str(folder), family], folder / "stepaic.log")


def python_peer(which: str, folder: Path, *, mixing: float, tolerance: float, dense: bool = False) -> Worker:
    """adelie or glum on the rows written in `folder`."""
    python = python_with(which)
    options = [which, str(folder), str(mixing), repr(tolerance), "dense" if dense else "sparse"]
    return Worker([python, str(HERE / "python_peers.py"), *options], folder / f"{which}.log")


def penalties_to(folder: Path, penalties: Float) -> None:
    """Write the sequence of penalties the peers of `folder` are to follow."""
    penalties.astype("<f8").tofile(folder / "penalties")
