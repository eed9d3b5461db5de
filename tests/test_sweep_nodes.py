"""Two nodes of Ray on one machine, joined by address; one of them dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rtmdx
import small_city
from rtmdx.sweep.axes import SweepSpec
from rtmdx.sweep.executors import Job, SerialExecutor
from rtmdx.sweep.prepare import Workshop
from rtmdx.sweep.scenarios import expand
from sweep_doubles import FolderWriter

N = 24
DATA = small_city.study(grid={"block_length": 100, "cell_size": 25})

# a process of its own: one process holds one session of Ray
SCRIPT = """
import json, sys
from pathlib import Path
from ray.cluster_utils import Cluster
import rtmdx
from rtmdx.sweep.axes import SweepSpec
from rtmdx.sweep.executors import Job, make_executor
from rtmdx.sweep.prepare import Workshop
from rtmdx.sweep.scenarios import expand
from sweep_doubles import FolderWriter

data, out, n, kill = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "kill"
study = rtmdx.Study.from_dict(json.loads(Path(data, "study.json").read_text()))
cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 1, "include_dashboard": False})
node = cluster.add_node(num_cpus=1)
retried, workers, errors = [], set(), []
expansion = expand(SweepSpec.build(study, axes={"seed": range(n)}))
job = Job(FolderWriter(out), expansion, range(n), Workshop(data=Path(data)), memory=5e7,
          retried=lambda index, why: retried.append(why))
for k, done in enumerate(make_executor("ray", workers=None, threads=1, address=cluster.address).run(job)):
    workers.add(done.worker)
    errors += [] if done.error is None else [str(done.error)]
    if kill and k == 6:
        cluster.remove_node(node, allow_graceful=False)
cluster.shutdown()
print(json.dumps({"retried": retried, "workers": sorted(workers), "errors": errors}))
"""


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("kill", ["keep", "kill"])
def test_two_nodes_and_one_that_dies(kill: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    small_city.write(tmp_path)
    (tmp_path / "study.json").write_text(json.dumps(DATA))
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    expansion = expand(SweepSpec.build(rtmdx.Study.from_dict(DATA), axes={"seed": range(N)}))
    one = FolderWriter(str(here))
    assert all(d.error is None for d in SerialExecutor().run(Job(one, expansion, range(N), Workshop(data=tmp_path))))
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(there), str(N), kill]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=env)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["errors"] == []
    assert len(told["workers"]) >= 2
    assert bool(told["retried"]) == (kill == "kill")
    assert FolderWriter(str(there)).results() == one.results()
