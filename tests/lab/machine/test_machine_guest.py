"""The agent inside the lab kernel, with the API server on the host; needs neither root nor ipvlan here."""

import secrets
import sys

import trio
from multinic_lab.apiserver import ApiServer, serve_api, write_kubeconfig
from multinic_lab.kernel.guest import open_guest
from multinic_lab.machine.client import connect
from multinic_lab.machine.testing import make_spec

from multinic_core.kube import connect as connect_kube
from multinic_core.model import NODES

SOCKET = f"/run/multinic-lab/{secrets.token_hex(4)}.sock"
READ_API = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1] + '/version', timeout=30).read().decode())"


async def test_nodes_in_the_lab_kernel_reach_the_api_on_the_host(tmp_path):
    """Nodes register with the host's API server, reach it from their own namespace, each other, and carry ipvlan."""
    command = [sys.executable, "-m", "multinic_lab.machine", "--listen", SOCKET]
    async with trio.open_nursery() as nursery:
        api: ApiServer = await nursery.start(serve_api)
        kube = connect_kube(str(write_kubeconfig(tmp_path / "kubeconfig", api.url)))
        async with (
            open_guest(command, memory_mb=768, timeout_seconds=120) as guest,
            connect(lambda: guest.connect(SOCKET), timeout_seconds=60) as agent,
        ):
            await agent.call("up", spec=make_spec(api.port, 2, 2))
            assert [node.name for node in await kube.list(NODES)] == ["node-1", "node-2"]
            done = await agent.call("exec", argv=["ping", "-c1", "-W2", "10.0.1.2"], node="node-1")
            assert done["status"] == 0, done
            server = f"http://172.20.0.1:{api.port}"
            done = await agent.call("exec", argv=[sys.executable, "-c", READ_API, server], node="node-2")
            assert "gitVersion" in done["stdout"], done
            argv = ["ip", "link", "add", "link", "eth1", "name", "x0", "type", "ipvlan", "mode", "l3"]
            assert (await agent.call("exec", argv=argv, node="node-1"))["status"] == 0
            report = await agent.call("audit")
            assert [link["link_kind"] for link in report["nodes"]["node-1"]["links"]] == ["ipvlan"]
            await agent.call("down")
        nursery.cancel_scope.cancel()
