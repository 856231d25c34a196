"""The model of Config: every field of the original, and what it means now."""

import pytest

from multinic_core.model.config import Config, duration_seconds

ORIGINALS = {
    "metadata": {"name": "multi-nicd"},
    "spec": {
        "cniType": "multi-nic",
        "ipamType": "multi-nic-ipam",
        "joinPath": "/join",
        "getInterfacePath": "/interface",
        "addRoutePath": "/addl3",
        "deleteRoutePath": "/deletel3",
        "daemon": {
            "image": "example.io/daemon:v1",
            "port": 11000,
            "env": [{"name": "DAEMON_PORT", "value": "11000"}],
            "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
            "securityContext": {"privileged": True},
            "mounts": [{"name": "cnibin", "podpath": "/host/opt/cni/bin", "hostpath": "/var/lib/cni/bin"}],
        },
    },
}


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("90m", 5400), ("1h30m", 5400), ("0.5s", 0.5), ("0s", 0)]
)
def test_durations(text, seconds):
    """A duration is numbers with units, added up."""
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "1d", "-1h", "1h 2m", "1h\n"])
def test_what_is_no_duration_is_refused(text):
    """The message shows what was found and what would be accepted."""
    with pytest.raises(ValueError, match="expected such as '24h'"):
        duration_seconds(text)


def test_fields_without_effect_are_named():
    """Whatever only drove the original's HTTP protocol is named by its path; the rest is not."""
    assert Config.model_validate(ORIGINALS).spec.unused_fields() == [
        "spec.addRoutePath",
        "spec.daemon.port",
        "spec.deleteRoutePath",
        "spec.getInterfacePath",
        "spec.joinPath",
    ]
    odd = {"spec": {"ipamType": "whereabouts"}}
    assert Config.model_validate(odd).spec.unused_fields() == ["spec.ipamType"]


def test_an_empty_spec_has_the_defaults():
    """Nothing needs to be written: all has a default, the retention of indexes a day."""
    spec = Config.model_validate({"spec": {}}).spec
    assert (spec.cni_type, spec.index_retention_seconds, spec.unused_fields()) == ("multi-nic", 86400, [])
