"""A strategy and an IPAM of other people's, with a broken plugin beside them, in an environment made by pip."""

import json
import subprocess
import sys
import sysconfig
import textwrap
from ipaddress import ip_network
from pathlib import Path

import pytest

from multinic_core import PodReference, SelectionRequest, load_plugins
from multinic_core.cli.skeleton import fill_in, write
from multinic_core.testing import example_nic

ROOT = Path(__file__).parents[2]
OURS = (".", "plugins/ipvlan", "plugins/macvlan", "plugins/policies", "operator", "daemon", "cni", "lab")
FOREIGN = ROOT / "examples/third-party-policy"

NETWORK = """
apiVersion: multinic.fms.io/v1
kind: MultiNicNetwork
metadata: {name: spread-out}
spec:
  subnet: 192.168.0.0/16
  ipam: '{"type": "tidy", "hostBlock": 6, "interfaceBlock": 2, "vlanMode": "l2", "first": 40}'
  multiNICIPAM: true
  plugin: {cniVersion: "0.3.0", type: macvlan, args: {mode: bridge}}
  attachPolicy: {strategy: spread}
"""
SCENARIO = """
nodes: 1
nics: 4
podsPerNode: 4
podNics: 1
network: network.yaml
"""
PROGRAM = """
import json, sys
from pathlib import Path
import trio
from rich.console import Console
from multinic_core.model import IPPOOLS
from multinic_lab.cluster.cluster import open_cluster
from multinic_lab.cluster.demo import Story, apply_network, start_pods
from multinic_lab.cluster.scenario import load_scenario

async def main(folder):
    story = Story(Console(file=sys.stderr, width=160))
    async with open_cluster(load_scenario(folder / "scenario.yaml"), folder=folder / "lab") as cluster:
        await apply_network(story, cluster)
        pods = await start_pods(story, cluster)
        pools = await cluster.kube.list(IPPOOLS)
        daemon_log = await cluster.agent.call("logs", node="node-1")
    found = {
        "faults": story.faults,
        "pods": {pod.name: pod.addresses for pod in pods},
        "pools": {pool.spec.pod_cidr: pool.spec.interface_name for pool in pools},
        "daemon_log": daemon_log,
        "operator_log": (folder / "lab/operator.log").read_text(),
    }
    print(json.dumps(found))

trio.run(main, Path(sys.argv[1]))
"""
BROKEN = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "multinic-broken"
version = "1.0.0"
[project.entry-points.multinic]
broken = "broken_plugin"
[tool.hatch.build.targets.wheel]
include = ["broken_plugin.py"]
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The python of a fresh virtual environment where pip put all of ours, the foreign plugins and a broken one.

    The strategy is the example's, the IPAM what ``multinic new-plugin`` writes.

    What they need is linked from this environment, which has it in these versions, and nothing of ours is.
    """
    home = tmp_path_factory.mktemp("third-party")
    broken = home / "broken"
    broken.mkdir()
    (broken / "broken_plugin.py").write_text("raise RuntimeError('this plugin is broken')\n")
    (broken / "pyproject.toml").write_text(textwrap.dedent(BROKEN))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    python = home / "venv/bin/python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(home / "venv")}))
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.lstrip("_").startswith(("multinic", "editable")):
            (packages / package.name).symlink_to(package)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-input", "--no-index"]
    sources = [*(ROOT / name for name in OURS), FOREIGN, write(fill_in("tidy", "ipam"), home), broken]
    subprocess.run([*install, "--no-build-isolation", *sources], check=True, timeout=600)
    return python


def test_plugins_lists_the_foreign_one_and_names_the_broken_one(environment):
    """The command shows both with their distributions, names the plugin that raises, and exits with 1."""
    done = subprocess.run([environment.parent / "multinic", "plugins", "--json"], capture_output=True, text=True)
    found = json.loads(done.stdout)
    plugins = [tuple(each[key] for key in ("register", "name", "distribution", "version")) for each in found["plugins"]]
    assert ("attachment strategy", "spread", "multinic-spread-policy", "1.0.0") in plugins
    assert ("IPAM", "tidy", "multinic-plugin-tidy", "0.1.0") in plugins
    (problem,) = found["problems"]
    assert problem["distribution"] == "multinic-broken"
    assert "this plugin is broken" in problem["cause"]
    assert done.returncode == 1


def test_new_plugin_finds_its_templates_where_pip_put_them(environment, tmp_path):
    """The installed command writes a plugin that the environment's python takes as it is."""
    subprocess.run([environment.parent / "multinic", "new-plugin", "quiet"], cwd=tmp_path, check=True)
    program = (
        "from multinic_core.testing import check_main_plugin as c; from multinic_plugin_quiet import Quiet; c(Quiet())"
    )
    subprocess.run([environment, "-c", program], cwd=tmp_path / "multinic-plugin-quiet", check=True)


def test_pods_use_the_foreign_plugins_beside_a_broken_one(environment, tmp_path):
    """Operator and daemon find them, four pods get the NICs and addresses they choose, both logs name the broken one.

    The operator's pools are those of our own IPAM; the addresses are the lowest from the 40th on.
    """
    (tmp_path / "network.yaml").write_text(NETWORK)
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    done = subprocess.run([environment, "-c", PROGRAM, tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["faults"] == []
    third_byte = {network.split(".")[2]: nic for network, nic in found["pools"].items()}
    used = {
        pod: [third_byte[address.split(".")[2]] for address in addresses] for pod, addresses in found["pods"].items()
    }
    assert used == {pod: list(expected(pod)) for pod in used}
    assert len({tuple(nics) for nics in used.values()}) > 1
    assert sorted(found["pools"].values()) == ["eth1", "eth2", "eth3"]
    given = [address for addresses in found["pods"].values() for address in addresses]
    assert sorted(given) == sorted(
        str(ip_network(pool)[40 + place])
        for pool, nic in found["pools"].items()
        for place in range(sum(nics.count(nic) for nics in used.values()))
    )
    for log in ("daemon_log", "operator_log"):
        assert "multinic-broken" in found[log]
        assert "this plugin is broken" in found[log]


def expected(pod):
    """What the foreign strategy answers for this pod on a node with eth1 to eth3."""
    assert "spread" not in load_plugins().strategies
    sys.path.insert(0, str(FOREIGN))
    try:
        from multinic_spread_policy import Spread
    finally:
        sys.path.remove(str(FOREIGN))
    request = SelectionRequest("spread-out", PodReference("default", pod), nics=1)
    return Spread().select(request, [example_nic(number) for number in (1, 2, 3)]).chosen
