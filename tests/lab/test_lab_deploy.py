"""The manifests of deploy/ with the real kubectl."""

import json
from pathlib import Path

from multinic_lab.apiserver import serve_api, write_kubeconfig
from multinic_lab.cluster.processes import Kubectl

DEPLOY = Path(__file__).parents[2] / "deploy"


async def test_one_command_installs_everything(tmp_path, nursery):
    """``kubectl apply --server-side -k deploy`` makes kinds, rights and operator; a second time it changes none."""
    server = await nursery.start(serve_api)
    kubectl = Kubectl(write_kubeconfig(tmp_path / "kubeconfig", server.url))
    await kubectl("apply", "--server-side", "-k", str(DEPLOY))
    await kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    await kubectl("apply", "--server-side", "-f", str(DEPLOY / "webhook.yaml"))
    shown = json.loads(await kubectl("get", "-n", "multi-nic-cni-operator", "deployment,sa,role,pdb", "-o", "json"))
    before = {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in shown["items"]}
    assert len(before) >= 6
    await kubectl("apply", "--server-side", "-k", str(DEPLOY))
    shown = json.loads(await kubectl("get", "-n", "multi-nic-cni-operator", "deployment,sa,role,pdb", "-o", "json"))
    assert {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in shown["items"]} == before
