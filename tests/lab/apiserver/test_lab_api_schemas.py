"""Schemas of definitions and of built-in kinds: pruning, defaults, refusals with their field path."""

import pytest


async def test_unknown_fields_are_pruned_with_a_warning(client, widget):
    """A field that the schema does not know is dropped, and the client is told."""
    reply = await client("POST", client.widgets, widget(bogus=1, free={"any": {"thing": 1}}))
    assert reply.status == 201
    assert "bogus" not in reply.body["spec"]
    assert reply.body["spec"]["free"] == {"any": {"thing": 1}}
    assert reply.headers["Warning"] == ['299 - "unknown field \\"spec.bogus\\""']


async def test_strict_validation_refuses_unknown_fields(client, widget):
    """fieldValidation=Strict turns the warning into a refusal; Ignore silences it."""
    status = await client.refused(400, "POST", client.widgets, widget(bogus=1), fieldValidation="Strict")
    assert 'strict decoding error: unknown field "spec.bogus"' in status["message"]
    reply = await client("POST", client.widgets, widget(bogus=1), fieldValidation="Ignore")
    assert reply.status == 201
    assert "Warning" not in reply.headers


async def test_defaults_are_filled_in_also_in_lists(client, widget):
    """Defaults of fields and of list items appear on create."""
    made = await client.ok("POST", client.widgets, widget(parts=[{"name": "x"}]))
    assert made["spec"]["mode"] == "small"
    assert made["spec"]["parts"] == [{"name": "x", "count": 1}]


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"size": "x"}, "spec.size", 'Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": 0}, "spec.size", "Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 101}, "spec.size", "Invalid value: 101: spec.size in body should be less than or equal to 100"),
        ({"mode": "mid"}, "spec.mode", 'Unsupported value: "mid": supported values: "small", "large"'),
        ({"name": "A"}, "spec.name", "Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"),
        ({"name": "abcdefghi"}, "spec.name", "Too long: may not be more than 8 bytes"),
        ({"tags": ["a", "b", "c"]}, "spec.tags", "Too many: 3: must have at most 2 items"),
        (
            {"tags": [1]},
            "spec.tags[0]",
            'Invalid value: "integer": spec.tags[0] in body must be of type string: "integer"',
        ),
        ({"parts": [{}]}, "spec.parts[0].name", "Required value"),
        ({"parts": [{"name": "a"}, {"name": "a"}]}, "spec.parts[1]", 'Duplicate value: {"name":"a"}'),
        (
            {"port": True},
            "spec.port",
            'Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
        ),
        ({"limit": 2}, "spec", 'Invalid value: "object": size must not exceed limit'),
    ],
)
async def test_a_field_that_is_wrong_is_refused_by_its_path(client, widget, spec, field, message):
    """Each kind of wrong value is a 422 with one cause that names the field and says what would be right."""
    status = await client.refused(422, "POST", client.widgets, widget(**spec))
    assert status["reason"] == "Invalid"
    told = [(c["field"], c["message"]) for c in status["details"]["causes"] if c["field"] != "<nil>"]
    assert told == [(field, message)]
    assert status["message"].startswith('Widget.example.io "a" is invalid: ')


async def test_required_fields_and_all_errors_at_once(client):
    """A missing field is Required value, and every error of an object is reported together."""
    body = {"apiVersion": "example.io/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"mode": "no"}}
    status = await client.refused(422, "POST", client.widgets, body)
    assert [c["field"] for c in status["details"]["causes"]] == ["spec.size", "spec.mode", "<nil>"]
    del body["spec"]
    status = await client.refused(422, "POST", client.widgets, body)
    assert status["details"]["causes"][0] == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "spec",
    }


async def test_null_is_only_for_nullable_fields(client, widget):
    """null stays where the schema allows it, gives way to the default where there is one, and is dropped elsewhere."""
    made = await client.ok("POST", client.widgets, widget(note=None, mode=None))
    assert made["spec"]["note"] is None
    assert made["spec"]["mode"] == "small"
    assert "name" not in (await client.ok("POST", client.widgets, widget("b", name=None)))["spec"]


@pytest.mark.parametrize(
    ("spec", "run"), [({"name": "A"}, True), ({"name": 1}, False), ({"name": "toolongname"}, False)]
)
async def test_rules_run_on_what_is_of_the_right_form(client, widget, spec, run):
    """A text that breaks a pattern does not keep rules from running; a wrong type or size does, and that is told."""
    status = await client.refused(422, "POST", client.widgets, widget(limit=2, **spec))
    told = {c["field"]: c["message"] for c in status["details"]["causes"]}
    assert ("size must not exceed limit" in told.get("spec", "")) is run
    assert ("some validation rules were not checked" in told.get("<nil>", "")) is not run


async def test_of_a_text_the_first_fault_is_told(client, widget):
    """One that is too long and breaks the pattern as well is only too long."""
    status = await client.refused(422, "POST", client.widgets, widget(name="toolongNAME"))
    assert [c["field"] for c in status["details"]["causes"]] == ["spec.name", "<nil>"]


async def test_a_transition_rule_compares_with_the_old_value(client, widget):
    """A rule on oldSelf lets a field be set once and refuses its change."""
    await client.ok("POST", client.widgets, widget())
    await client.merge(f"{client.widgets}/a", {"spec": {"fixed": "x"}})
    patch = {"spec": {"fixed": "y"}}
    status = await client.refused(422, "PATCH", f"{client.widgets}/a", patch, kind="application/merge-patch+json")
    assert status["details"]["causes"][0]["field"] == "spec.fixed"
    assert "fixed may not change" in status["message"]


async def test_a_definition_with_a_rule_that_cannot_run_is_refused(client, widget_crd):
    """Rules are read when the definition is made: none is ever skipped in silence."""
    schema = widget_crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for rule in ("self.size >", "quantity(self.size).isInteger()"):
        schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": rule}]
        widget_crd["metadata"]["name"] = "widgets.example.io"
        status = await client.refused(
            422, "PATCH", f"{client.crds}/widgets.example.io", widget_crd, kind="application/merge-patch+json"
        )
        assert "compilation failed" in status["message"]


async def test_built_in_kinds_are_checked_for_shape(client, pod):
    """Unknown fields of a Pod are pruned with a warning, wrong types are 400, missing parts 422."""
    body = pod()
    body["spec"]["bogus"] = 1
    reply = await client("POST", client.pods, body)
    assert reply.status == 201
    assert "bogus" not in reply.body["spec"]
    assert "spec.bogus" in reply.headers["Warning"][0]
    status = await client.refused(400, "POST", client.configmaps, {"metadata": {"name": "c"}, "data": {"a": 1}})
    assert "data.a" in status["message"]
    body = pod("q")
    del body["spec"]["containers"][0]["name"]
    status = await client.refused(422, "POST", client.pods, body)
    assert status["details"]["causes"][0]["field"] == "spec.containers[0].name"


async def test_a_definition_must_be_structural(client, widget_crd):
    """A definition without types, or whose name is not plural.group, is refused with the path."""
    widget_crd["metadata"]["name"] = "gadgets.example.io"
    status = await client.refused(422, "POST", client.crds, widget_crd)
    assert status["details"]["causes"][0]["field"] == "metadata.name"
    widget_crd["spec"]["names"] |= {"plural": "gadgets", "kind": "Gadget"}
    spec = widget_crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["mode"]["type"]
    status = await client.refused(422, "POST", client.crds, widget_crd)
    path = "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[mode].type"
    assert status["details"]["causes"][0]["field"] == path
