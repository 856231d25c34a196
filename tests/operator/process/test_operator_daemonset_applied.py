"""The DaemonSet on an API server that knows who owns which field."""

from __future__ import annotations

from typing import Any

import pytest
from multinic_lab.apiserver import RequestLog

from multinic_core.model import CONFIGS, DAEMONSETS, SYSTEM_NAMESPACE


async def found(lab: Any) -> Any:
    return await lab.kube.get(DAEMONSETS, "multi-nicd", SYSTEM_NAMESPACE)


@pytest.mark.embedded_api
async def test_fields_have_their_owners(lab: Any) -> None:
    """What the Config stops saying goes, what a person added beside it stays, and nothing is written twice."""
    lab.server.api.requests = log = RequestLog()
    await lab.start()

    async def there() -> bool:
        return bool(await lab.kube.list(DAEMONSETS))

    await lab.until(there)
    body = {
        "spec": {"template": {"spec": {"containers": [{"name": "multi-nicd", "env": [{"name": "A", "value": "1"}]}]}}}
    }
    mine = {"namespace": SYSTEM_NAMESPACE, "kind": "apply", "field_manager": "a-person"}
    await lab.kube.patch(DAEMONSETS, "multi-nicd", body, **mine)
    daemon = {"nodeSelector": {"fast": "yes"}, "env": [{"name": "B", "value": "2"}]}
    await lab.kube.patch(CONFIGS, "multi-nicd", {"spec": {"daemon": daemon}})

    async def selected() -> bool:
        return "nodeSelector" in (await found(lab)).spec["template"]["spec"]

    await lab.until(selected)
    await lab.kube.patch(CONFIGS, "multi-nicd", {"spec": {"daemon": {"nodeSelector": None, "env": None}}})

    async def withdrawn() -> bool:
        return "nodeSelector" not in (await found(lab)).spec["template"]["spec"]

    await lab.until(withdrawn)
    (container,) = (await found(lab)).spec["template"]["spec"]["containers"]
    names = [entry["name"] for entry in container["env"]]
    assert "A" in names
    assert "B" not in names
    await lab.kube.patch(DAEMONSETS, "multi-nicd", {"spec": {"minReadySeconds": 77}}, namespace=SYSTEM_NAMESPACE)

    async def mended() -> bool:
        return bool((await found(lab)).spec["minReadySeconds"] != 77)

    await lab.until(mended)
    written = [e for e in log.entries if e.agent == "multinic-operator" and e.resource == "daemonsets" and e.writes]
    assert len(written) == 4  # made, selector there, selector gone, edit taken back
