"""Laws of the pure parts: merge patches, JSON patches, selectors, answers, paths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multinic_core.kube.answers import retry_after_seconds
from multinic_core.kube.objects import difference, encode, merge
from multinic_core.kube.paths import View, collection_path, object_path
from multinic_core.model import DEVICE_CLASSES, LEASES, PODS, Lease
from multinic_core.ports import Key
from multinic_core.testing.kube_rules import PatchError, field_match, json_patch, label_match

names = st.sampled_from("abc")
values = st.recursive(
    st.integers(0, 2) | st.sampled_from(["", "x"]) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, values, max_size=3)


@given(objects, objects)
def test_merging_the_difference_gives_the_new_object(old, new):
    """``difference`` is undone by ``merge``, whatever the two objects are."""
    before = repr(old)
    assert merge(old, difference(old, new)) == new
    assert repr(old) == before


@given(objects)
def test_equal_objects_do_not_differ(value):
    """No difference is the empty patch."""
    assert difference(value, value) == {}


def test_merge_patches_of_the_specification():
    """Source: RFC 7386, appendix A."""
    cases = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, result in cases:
        assert merge(target, patch) == result


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/l/1", "value": 9}, {"l": [1, 9, 2], "m": {"x": 1}}),
        ({"op": "add", "path": "/m/y", "value": [1]}, {"l": [1, 2], "m": {"x": 1, "y": [1]}}),
        ({"op": "remove", "path": "/l/0"}, {"l": [2], "m": {"x": 1}}),
        ({"op": "move", "from": "/m/x", "path": "/n"}, {"l": [1, 2], "m": {}, "n": 1}),
        ({"op": "replace", "path": "/m", "value": 0}, {"l": [1, 2], "m": 0}),
    ],
)
def test_json_patch_operations(operation, result):
    """Each operation does what RFC 6902 says, on a copy."""
    target = {"l": [1, 2], "m": {"x": 1}}
    assert json_patch(target, [operation]) == result
    assert target == {"l": [1, 2], "m": {"x": 1}}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/absent"},
        {"op": "replace", "path": "/l/7", "value": 1},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "add", "path": "/absent/x", "value": 1},
        {"op": "test", "path": "/l", "value": [1]},
        {"op": "add", "path": "l", "value": 1},
        {"op": "swap", "path": "/l"},
        {"op": "remove", "path": "/l/x"},
    ],
)
def test_impossible_json_patches(operation):
    """A patch that cannot be applied says so."""
    with pytest.raises(PatchError):
        json_patch({"l": [1, 2]}, [operation])


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("", True),
        ("a=1", True),
        ("a==2", False),
        ("a!=2,b", True),
        ("c!=1", True),
        ("!b", False),
        ("!c", True),
        ("a in (1, 2),b notin (x,y)", True),
        ("c in (1)", False),
        ("c notin (1)", True),
    ],
)
def test_label_selectors(selector, fits):
    """Equality, set and existence requirements are joined by "and"."""
    assert label_match(selector, {"a": "1", "b": "z"}) is fits


def test_label_selectors_that_cannot_be_read():
    """A mistake in a test's selector does not pass for "matches nothing"."""
    with pytest.raises(ValueError, match="a ~ b"):
        label_match("a ~ b", {})


def test_field_selectors():
    """Paths are compared as text, and absent ones as empty."""
    raw = {"spec": {"nodeName": "n"}}
    assert field_match("spec.nodeName=n,status.phase!=Failed", raw)
    assert not field_match("spec.nodeName!=n", raw)
    assert field_match("status.phase=", raw)


def test_paths():
    """The core group and others, with and without namespace; names are quoted."""
    assert collection_path(PODS, "") == "/api/v1/pods"
    assert object_path(PODS, Key("s", "a/b"), "status") == "/api/v1/namespaces/s/pods/a%2Fb/status"
    assert object_path(DEVICE_CLASSES, Key("", "d")) == "/apis/multinic.fms.io/v1/deviceclasses/d"
    with pytest.raises(ValueError, match="the kind has none"):
        collection_path(DEVICE_CLASSES, "s")
    with pytest.raises(ValueError, match="a name is needed"):
        object_path(DEVICE_CLASSES, Key("", ""))
    assert str(View(LEASES, "s", "a=b")) == "leases in s with a=b"


def test_models_are_sent_with_their_type():
    """An empty name is left out, so that generateName works."""
    sent = encode(LEASES, Lease())
    assert (sent["apiVersion"], sent["kind"], sent["metadata"]) == ("coordination.k8s.io/v1", "Lease", {})


def test_retry_after():
    """Seconds or a date; what cannot be read asks for nothing."""
    assert retry_after_seconds({"Retry-After": "7"}) == 7
    assert retry_after_seconds({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0
    assert retry_after_seconds({"Retry-After": "soon"}) is None
    assert retry_after_seconds({}) is None
