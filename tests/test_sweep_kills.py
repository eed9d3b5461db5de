"""A few of the strikes of benchmarks/sweep_faults.py: what runs a sweep is killed at random moments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "sweep_faults.py"


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("kind", ["driver", "worker", "node"])
def test_what_is_killed_at_random_moments_leaves_the_same_store(kind: str) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, str(SCRIPT), kind, "--times", "3", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert (told["killed"], told["times"], told["identical"], told["recomputed"]) == (kind, 3, 3, 0)
