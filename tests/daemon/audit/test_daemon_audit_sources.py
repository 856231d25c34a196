"""Reading: what the API and the file system say, and what their silence is taken for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from multinic_daemon.audit.sources import sandboxes
from multinic_daemon.audit.sources.cluster import ClusterSeen, observe_cluster
from multinic_daemon.audit.sources.sandboxes import find_sandboxes
from multinic_daemon.audit.world import NotCompared, PodsSeen, Sandbox
from multinic_daemon.testing import NODE, network_objects
from trio.testing import MockClock

from multinic_core.cli import multinic
from multinic_core.errors import ApiError
from multinic_core.model import CIDRS, HOST_INTERFACES, IPPOOLS, NODES, PODS
from multinic_core.plan import PodReference
from multinic_core.testing.kube import FakeKubernetes


@pytest.fixture
def cluster() -> FakeKubernetes:
    """Node, network ``net-a`` and pod ``p1`` of this node."""
    fake = FakeKubernetes()
    fake.seed(NODES, {"metadata": {"name": NODE}})
    _, cidr, pools = network_objects("net-a", 2, node=NODE)
    cidr["spec"]["config"]["vlanMode"] = "l3"
    host = {
        "hostIndex": 0,
        "hostName": NODE,
        "interfaceName": "eth1",
        "hostIP": "10.0.1.1",
        "podCIDR": "192.168.0.0/24",
    }
    cidr["spec"]["cidr"][0]["hosts"] = [host]
    fake.seed(CIDRS, cidr)
    fake.seed(IPPOOLS, *pools)
    fake.seed(IPPOOLS, *network_objects("net-b", 1, node="node-2")[2])
    fake.seed(PODS, pod("p1"), pod("p2", node="node-2"))
    return fake


def pod(name: str, node: str = NODE) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}, "spec": {"nodeName": node}}


def uid(fake: FakeKubernetes, name: str) -> str:
    found: str = fake.raw(PODS, name, "default")["metadata"]["uid"]
    return found


async def look(fake: FakeKubernetes, *journal: PodReference, node: str = NODE) -> ClusterSeen:
    return await observe_cluster(fake, node, journal)


async def test_pods_pools_and_wishes_of_this_node_are_seen(cluster: FakeKubernetes) -> None:
    """And nothing of other nodes."""
    seen = await look(cluster)
    assert seen.pods == PodsSeen({uid(cluster, "p1"): "default/p1"}, frozenset())
    assert isinstance(seen.mirror, dict)
    assert sorted(seen.mirror) == ["net-a-192.168.0.0-24", "net-a-192.168.64.0-24"]
    assert isinstance(seen.wishes, tuple)
    assert [wish.network for wish in seen.wishes] == ["net-a"]


async def test_wishes_of_a_cidr_without_lists_come_from_the_nodes(cluster: FakeKubernetes) -> None:
    """By arithmetic; nodes that cannot be listed make no wish."""
    await cluster.patch(CIDRS, "net-a", {"spec": {"compact": True}})
    for index, name in enumerate((NODE, "node-2")):
        nic = {"interfaceName": "eth1", "netAddress": "10.0.1.0/24", "hostIP": f"10.0.1.{index + 1}"}
        spec = {"hostName": name, "interfaces": [nic]}
        cluster.seed(HOST_INTERFACES, {"metadata": {"name": name}, "spec": spec, "status": {"hostIndex": index}})
    seen = await look(cluster)
    assert isinstance(seen.wishes, tuple)
    assert [str(route.dst) for wish in seen.wishes for route in wish.routes] == ["192.168.1.0/24"]
    cluster.fail(ApiError("no", status=403), verb="list", resource=HOST_INTERFACES)
    assert isinstance((await look(cluster)).wishes, NotCompared)


async def test_pod_is_gone_when_the_api_says_so_by_name(cluster: FakeKubernetes) -> None:
    """Unknown name, or another UID under it; a pod of another node is not gone, nor one without name or UID."""
    seen = await look(
        cluster,
        PodReference("default", "p1", uid(cluster, "p1")),
        PodReference("default", "p1", "uid-before"),
        PodReference("default", "p2", uid(cluster, "p2")),
        PodReference("default", "p9", "uid-p9"),
        PodReference("", "", "uid-nameless"),
        PodReference("default", "p8", ""),
    )
    assert isinstance(seen.pods, PodsSeen)
    assert seen.pods.gone == {"uid-before", "uid-p9"}


@pytest.mark.parametrize(("verb", "status"), [("list", 500), ("get", 0), ("get", 500)])
async def test_failed_question_leaves_pods_out(cluster: FakeKubernetes, verb: str, status: int) -> None:
    """An API error proves nobody dead."""
    cluster.fail(ApiError("no", status=status), verb=verb, resource=PODS)
    seen = await look(cluster, PodReference("default", "p9", "uid-p9"))
    assert isinstance(seen.pods, NotCompared)
    assert isinstance(seen.mirror, dict)


async def test_node_that_the_api_does_not_know_is_not_compared(cluster: FakeKubernetes) -> None:
    """A wrong node name would make every pod look gone."""
    seen = await look(cluster, PodReference("default", "p9", "uid-p9"), node="nodd-1")
    assert seen.pods == seen.mirror == seen.wishes == NotCompared("the API knows no node 'nodd-1'")


async def test_unreachable_api_is_not_compared(cluster: FakeKubernetes, autojump_clock: MockClock) -> None:
    """Said with the reason."""
    cluster.fail(ApiError("connection refused"), verb="get", resource=NODES)
    assert (await look(cluster)).pods == NotCompared("connection refused")


async def test_objects_that_cannot_be_read_leave_their_part_out(cluster: FakeKubernetes) -> None:
    """Of an unreadable CIDR it is not known which routes it wants."""
    cluster.seed_invalid(CIDRS, {"metadata": {"name": "odd"}, "spec": {}})
    seen = await look(cluster)
    assert isinstance(seen.wishes, NotCompared)
    assert isinstance(seen.pods, PodsSeen)


def test_path_that_leads_to_a_namespace_has_its_inode() -> None:
    """This process's own, for one."""
    path = "/proc/self/ns/net"
    assert find_sandboxes([path]) == {path: Sandbox(Path(path).stat().st_ino)}


@pytest.mark.parametrize(
    ("make", "gone", "words"),
    [
        pytest.param(lambda folder: folder / "x", True, "", id="missing in its folder"),
        pytest.param(lambda folder: folder / "no" / "x", False, "may not see the node's mounts", id="no folder"),
        pytest.param(lambda folder: folder, False, "plain file", id="something else"),
        pytest.param(lambda _: "", False, "names no path", id="no path"),
        pytest.param(lambda _: "/proc/self/ns/net/x", False, "", id="no folder, but a file"),
    ],
)
def test_missing_path_is_a_proof_only_where_it_can_be_seen(
    tmp_path: Path, make: Callable[[Path], Any], gone: bool, words: str
) -> None:
    """Where this process may be unable to see it, nothing is concluded."""
    path = str(make(tmp_path))
    found = find_sandboxes([path])[path]
    assert found.gone is gone
    assert found.inode is None
    assert words in found.unsure


@pytest.mark.parametrize(("inode", "gone"), [(sandboxes._INITIAL_PID_NAMESPACE, True), (1234, False)])
def test_missing_process_is_a_proof_only_for_who_sees_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inode: int, gone: bool
) -> None:
    """In a process namespace of its own, most processes are out of sight."""
    (tmp_path / "self/ns").mkdir(parents=True)
    for name in ("net", "pid"):
        (tmp_path / "self/ns" / name).touch()
    monkeypatch.setattr(sandboxes, "PROC", tmp_path)
    monkeypatch.setattr(
        sandboxes, "_INITIAL_PID_NAMESPACE", (tmp_path / "self/ns/pid").stat().st_ino if gone else inode
    )
    path = str(tmp_path / "99/ns/net")
    assert find_sandboxes([path])[path].gone is gone


def test_audit_without_a_journal_cannot_be_carried_out(tmp_path: Path) -> None:
    """Exit status 2, one line, and nothing on standard output."""
    done = CliRunner().invoke(multinic, ["audit", "--no-api", "--run-dir", str(tmp_path), "--json"])
    assert done.exit_code == 2
    assert "no such file" in done.stderr
    assert done.stdout == ""


def test_repair_without_a_daemon_cannot_be_carried_out(tmp_path: Path) -> None:
    """Exit status 2 with the reason, before anything is looked at."""
    done = CliRunner().invoke(multinic, ["audit", "--repair", "--run-dir", str(tmp_path)])
    assert done.exit_code == 2
    assert "repair: no daemon answers on" in done.stderr
