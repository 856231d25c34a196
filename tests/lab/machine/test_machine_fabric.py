"""Fabric, nodes and commands in them, on this machine's kernel as root."""

import json
import os
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest
import trio
import yaml
from multinic_lab.machine.client import OperationError, open_agent
from multinic_lab.machine.testing import make_spec, open_lab, until

pytestmark = [pytest.mark.needs_root, pytest.mark.link_kind("veth", "bridge")]


def leftovers(prefix: str) -> list[str]:
    """Names of namespaces, folders and mounts of this lab."""
    paths = [*Path("/run/netns").glob(f"{prefix}*"), *Path("/run").glob(f"multinic-{prefix}")]
    found = [str(path) for path in paths]
    return found + [line for line in Path("/proc/self/mounts").read_text().splitlines() if prefix in line]


async def test_nodes_reach_each_other_over_every_nic(shared):
    """A ping from one node to the other's address succeeds on each network, and to the bridge on the first."""
    for address in ("172.20.0.12", "10.0.1.2", "10.0.2.2", "172.20.0.1"):
        done = await shared.run("ping", "-n", "-q", "-c", "1", "-W", "2", address, node="node-1")
        assert done["status"] == 0, done


async def test_networks_are_apart(two_nodes):
    """A node that has no NIC on a network is not reached over it."""
    await two_nodes.agent.call("node_nic", node="node-2", action="remove", ifname="eth1")
    argv = ("ping", "-n", "-q", "-c", "1", "-W", "0.3", "-I", "eth1", "10.0.2.2")
    assert (await two_nodes.run(*argv, node="node-1"))["status"] == 1


async def test_links_and_routes_are_what_ip_says(two_nodes):
    """``links`` and ``routes`` agree with ``ip -j``, an independent witness."""
    said = json.loads((await two_nodes.run("ip", "-j", "-d", "addr", node="node-1"))["stdout"])
    found = await two_nodes.agent.call("links", node="node-1")
    assert [link["ifname"] for link in found] == ["lo", "eth0", "eth1", "eth2"]
    for ours, theirs in zip(found, said, strict=True):
        assert (ours["ifname"], ours["ifindex"], ours["mtu"]) == (theirs["ifname"], theirs["ifindex"], theirs["mtu"])
        assert ours["address"] == theirs["address"]
        assert ours["link_kind"] == theirs.get("linkinfo", {}).get("info_kind", "")
        told = [(info["local"], info["prefixlen"], info["scope"]) for info in theirs["addr_info"]]
        assert [(info["local"], info["prefixlen"], info["scope"]) for info in ours["addr_info"]] == told
    await two_nodes.run(
        *["ip", "route", "add", "192.168.7.0/24", "via", "10.0.1.2", "dev", "eth1", "table", "77"], node="node-1"
    )
    await two_nodes.run(
        *["ip", "rule", "add", "from", "192.168.0.0/16", "lookup", "77", "priority", "500"], node="node-1"
    )
    added = await two_nodes.agent.call("routes", node="node-1")
    assert [(r["dst"], r["gateway"], r["ifname"], r["table"]) for r in added["routes"]] == [
        ("192.168.7.0/24", "10.0.1.2", "eth1", 77)
    ]
    assert [(r["src"], r["priority"], r["table"]) for r in added["rules"]] == [("192.168.0.0/16", 500, 77)]
    every = await two_nodes.agent.call("routes", node="node-1", every=True)
    assert ("default", "172.20.0.1", "eth0", 254) in [
        (r["dst"], r["gateway"], r["ifname"], r["table"]) for r in every["routes"]
    ]


async def test_the_audit_names_what_was_added(two_nodes):
    """A clean lab has no problems; a foreign link, route or rule on a node is one each."""
    report = await two_nodes.agent.call("audit")
    assert (report["clean"], report["problems"]) == (True, [])
    await two_nodes.run(*["ip", "link", "add", "link", "eth1", "name", "left0", "type", "macvlan"], node="node-2")
    await two_nodes.run(*["ip", "route", "add", "192.168.7.0/24", "dev", "eth1", "table", "77"], node="node-2")
    await two_nodes.run(*["ip", "rule", "add", "from", "192.168.0.0/16", "lookup", "77"], node="node-2")
    report = await two_nodes.agent.call("audit")
    assert not report["clean"]
    assert len(report["problems"]) == 3
    assert all(problem.startswith("node-2: ") for problem in report["problems"])
    assert [link["ifname"] for link in report["nodes"]["node-2"]["links"]] == ["left0"]


async def test_nodes_are_set_as_nodes_of_a_cluster(shared):
    """Nodes forward, with a loose reverse-path filter, and their ``lo`` is up."""
    names = ("ip_forward", "conf/all/rp_filter", "conf/eth1/rp_filter")
    paths = [f"/proc/sys/net/ipv4/{name}" for name in names]
    assert (await shared.run("cat", *paths, node="node-1"))["stdout"].split() == ["1", "2", "2"]
    assert (await shared.run("ping", "-c1", "-W1", "127.0.0.1", node="node-1"))["status"] == 0


async def test_nodes_are_registered_with_their_primary_address(shared):
    """The API has a Node for each, ready, with the management address as its InternalIP."""
    nodes = await trio.to_thread.run_sync(_get, f"{shared.api.url}/api/v1/nodes")
    told = {node["metadata"]["name"]: node["status"] for node in nodes["items"]}
    assert sorted(told) == ["node-1", "node-2"]
    assert {"type": "InternalIP", "address": "172.20.0.12"} in told["node-2"]["addresses"]
    assert [(c["type"], c["status"]) for c in told["node-1"]["conditions"]] == [("Ready", "True")]


def _get(url: str):
    with urlopen(url, timeout=60) as answer:
        return json.load(answer)


async def test_nodes_reach_the_api(shared):
    """A process in a node reads the API through the server its kubeconfig names."""
    kubeconfig = yaml.safe_load(await trio.Path(shared.told["kubeconfig"]).read_text())
    (cluster,) = kubeconfig["clusters"]
    assert cluster["cluster"]["server"] == f"http://172.20.0.1:{shared.spec['api_port']}"
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1] + '/version', timeout=60).read().decode())"
    done = await shared.run("python3", "-c", code, cluster["cluster"]["server"], node="node-2")
    assert "gitVersion" in done["stdout"], done


async def test_a_command_gives_its_status_and_outputs(shared):
    """Exit status, both outputs and the input of a command arrive; a signal is 128 and its number."""
    done = await shared.agent.call("exec", argv=["sh", "-c", "cat; echo err >&2; exit 3"], node="node-1", stdin="in ü")
    assert done == {"status": 3, "stdout": "in ü", "stderr": "err\n", "timed_out": False}
    assert (await shared.run("sh", "-c", "kill -9 $$", node="node-1"))["status"] == 137


async def test_a_command_that_takes_too_long_is_killed_with_its_children(shared):
    """When the time is up the whole group is dead and the answer says so."""
    done = await shared.run("sh", "-c", "sleep 98765 & echo started; wait", node="node-1", timeout_seconds=0.5)
    assert (done["timed_out"], done["stdout"]) == (True, "started\n")
    assert _processes("98765") == []


def _processes(word: str) -> list[str]:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in commands if command.startswith("sleep") and word in command]


async def test_a_cancelled_command_is_killed(two_nodes):
    """Cancelling the call ends the process in the node."""
    with trio.move_on_after(0.5):
        await two_nodes.run("sleep", "98766", node="node-1")
    await until(lambda: not _processes("98766"))


async def test_commands_run_at_the_same_time(shared):
    """A server and its client, in two nodes, are two calls at once."""
    argv = ["python3", "-c", "import socket; s = socket.create_server(('10.0.1.2', 7)); print(s.accept()[1][0])"]
    said = {}

    async def serve() -> None:
        said["server"] = (await shared.run(*argv, node="node-2"))["stdout"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        code = (
            "import socket, time\nfor _ in range(200):\n try: socket.create_connection(('10.0.1.2', 7)); break\n"
            " except OSError: time.sleep(0.05)"
        )
        await shared.run("python3", "-c", code, node="node-1")
    assert said["server"] == "10.0.1.1\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"argv": ["true"], "node": "node-9"}, "'node-9' is not one of"),
        ({"argv": ["true"], "pod": "default/none"}, "not running"),
        ({"argv": ["/no/such"], "node": "node-1"}, "cannot be started"),
        ({"argv": [], "node": "node-1"}, "argv: is empty"),
        ({"argv": "true"}, "argv: "),
        ({"argv": ["true"], "node": "node-1", "pod": "a/b"}, "expected one of them"),
        ({"argv": ["true"], "unknown": 1}, "unknown: "),
    ],
)
async def test_a_wrong_call_is_refused_by_name(shared, arguments, problem):
    """Arguments that do not fit are an error that names them; the agent lives on."""
    with pytest.raises(OperationError, match=problem):
        await shared.agent.call("exec", **arguments)
    assert (await shared.run("true", node="node-1"))["status"] == 0


async def test_nics_change_as_nics_do(two_nodes):
    """Down, up, rename, readdress, MTU, remove and add each show in the node, and an added NIC carries packets."""

    async def nic(action: str, ifname: str, **more: object) -> None:
        await two_nodes.agent.call("node_nic", node="node-1", action=action, ifname=ifname, **more)

    async def find(ifname: str):
        found = await two_nodes.agent.call("links", node="node-1")
        return next((link for link in found if link["ifname"] == ifname), None)

    def addresses(link) -> list[str]:
        return [f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global"]

    await nic("down", "eth1")
    assert not (await find("eth1"))["up"]
    await nic("up", "eth1")
    assert (await find("eth1"))["up"]
    await nic("rename", "eth1", new_name="fast1")
    assert await find("eth1") is None
    assert addresses(await find("fast1")) == ["10.0.1.1/24"]
    await nic("readdress", "fast1", addresses=["10.0.9.1/24", "fd09::1/64"])
    assert addresses(await find("fast1")) == ["10.0.9.1/24", "fd09::1/64"]
    await nic("mtu", "fast1", mtu=1400)
    assert (await find("fast1"))["mtu"] == 1400
    await nic("remove", "fast1")
    assert await find("fast1") is None
    await nic("add", "eth7", network=1, addresses=["10.0.1.77/24"])
    assert (await two_nodes.run("ping", "-c1", "-W2", "10.0.1.2", node="node-1"))["status"] == 0
    with pytest.raises(OperationError, match="'eth99' does not exist"):
        await nic("down", "eth99")
    with pytest.raises(OperationError, match="network: 9 is not one of"):
        await nic("add", "eth8", network=9)


async def test_nothing_is_left_when_the_controller_goes(tmp_path):
    """After the block every namespace, folder, mount and process of the lab is gone."""
    async with open_lab(tmp_path) as running, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: running.run("sleep", "98767", node="node-1", timeout_seconds=60))
        await until(lambda: _processes("98767"))
        nursery.cancel_scope.cancel()
    assert leftovers(running.prefix) == []
    assert _processes("98767") == []


async def test_down_leaves_an_agent_that_can_do_it_again(two_nodes):
    """``down`` removes all, may be repeated, and ``up`` works afterwards."""
    await two_nodes.agent.call("down")
    assert leftovers(two_nodes.prefix) == []
    await two_nodes.agent.call("down")
    with pytest.raises(OperationError, match="there is no lab yet"):
        await two_nodes.run("true", node="node-1")
    await two_nodes.agent.call("up", spec=two_nodes.spec)
    assert (await two_nodes.run("ping", "-c1", "-W2", "10.0.1.2", node="node-1"))["status"] == 0


async def test_a_lab_that_comes_up_halfway_leaves_nothing(two_nodes, tmp_path):
    """When the second node cannot be built, what was made before it is removed."""
    spec = make_spec(two_nodes.api.port, 2, 2)
    spec["nodes"][1]["nics"][1]["address"] = ["10.0.1.1/24", "10.0.1.1/24"]
    async with open_agent() as agent:
        with pytest.raises(OperationError, match="EEXIST") as caught:
            await agent.call("up", spec=spec)
        assert caught.value.kind == "KernelError"
        assert leftovers(spec["prefix"]) == []


async def test_two_labs_live_side_by_side(two_nodes, tmp_path):
    """Labs of unlike prefixes use the same addresses at the same time; one prefix cannot be used twice."""
    other = make_spec(two_nodes.api.port, 1, 2)
    async with open_agent() as agent:
        await agent.call("up", spec=other)
        done = await agent.call("exec", argv=["ping", "-c1", "-W0.5", "172.20.0.12"], node="node-1")
        assert done["status"] == 1
    assert (await two_nodes.run("ping", "-c1", "-W2", "172.20.0.12", node="node-1"))["status"] == 0
    async with open_agent() as agent:
        with pytest.raises(OperationError, match="is running already"):
            await agent.call("up", spec=two_nodes.spec)
    assert (await two_nodes.run("true", node="node-1"))["status"] == 0


async def test_a_killed_agent_is_cleaned_up_after(two_nodes):
    """After kill -9 of the agent its guard removes namespaces, folder and processes."""
    (hello,) = [event for event in two_nodes.events if event.name == "hello"]
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            with pytest.raises(Exception, match="went away"):
                await two_nodes.run("sleep", "98768", node="node-1")

        nursery.start_soon(run)
        await until(lambda: _processes("98768"))
        os.kill(hello.fields["pid"], signal.SIGKILL)
    await until(lambda: not leftovers(two_nodes.prefix))
    assert _processes("98768") == []


async def test_a_terminated_agent_removes_its_lab(two_nodes):
    """SIGTERM ends the agent in order, with nothing left."""
    (hello,) = [event for event in two_nodes.events if event.name == "hello"]
    os.kill(hello.fields["pid"], signal.SIGTERM)
    await until(lambda: not leftovers(two_nodes.prefix))
