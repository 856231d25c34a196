"""The CEL of validation rules."""

import pytest
from multinic_lab.apiserver.cel import check_rules
from multinic_lab.apiserver.cel.evaluate import evaluate
from multinic_lab.apiserver.cel.functions import CelError
from multinic_lab.apiserver.cel.syntax import CelSyntaxError, parse

SELF = {
    "a": 1,
    "list": [1, 2, 3],
    "names": ["x", "y"],
    "text": "10.0.0.0/8",
    "map": {"k": "v"},
    "namespace": "n",
    "with-dash": True,
    "none": None,
}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("1 + 2 * 3 == 7", True),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("self.a == 1.0", True),
        ("self.a == true", False),
        ("self.a in self.list && !(9 in self.list)", True),
        ("'k' in self.map", True),
        ("has(self.a) && !has(self.b)", True),
        ("!has(self.b) || self.b > 1", True),
        ("self.b > 1 || true", True),
        ("false && self.b > 1", False),
        ("self.a > 1 ? 'big' : 'small'", "small"),
        ("self.list.all(x, x > 0)", True),
        ("self.list.exists(x, x == 4)", False),
        ("self.list.exists_one(x, x == 2)", True),
        ("self.list.map(x, x * 2)", [2, 4, 6]),
        ("self.list.map(x, x > 1, x * 2)", [4, 6]),
        ("self.list.filter(x, x != 2)", [1, 3]),
        ("self.map.all(k, self.map[k] == 'v')", True),
        ("self.list.all(i, v, i < v)", True),
        ("size(self.list) == self.list.size()", True),
        ("self.text.matches('^[0-9./]+$')", True),
        ("self.text.startsWith('10') && self.text.endsWith('/8')", True),
        ("self.text.split('/')[1] == '8'", True),
        ("int(self.text.split('/')[1]) <= 24", True),
        ("isCIDR(self.text) && cidr(self.text).prefixLength() == 8", True),
        ("cidr(self.text).containsIP('10.2.3.4') && !cidr(self.text).containsIP('11.0.0.1')", True),
        ("cidr(self.text).containsCIDR('10.9.0.0/16')", True),
        ("isIP('fe80::1') && ip('fe80::1').family() == 6", True),
        ("isIP('10.0.0.0/8')", False),
        ("isIP('::ffff:10.0.0.1') || isIP('fe80::1%eth0') || isIP('010.0.0.1')", False),
        ("isCIDR('::ffff:10.0.0.0/104') || isCIDR('fe80::%eth0/64') || isCIDR('10.0.0.0/08')", False),
        ("isCIDR('10.0.0.0') || isCIDR('10.0.0.0/255.0.0.0')", False),
        ("'\u00a0'.matches(r'\\s')", False),
        ("self.names.join(',') == 'x,y'", True),
        ("self.__namespace__ == 'n' && self.with__dash__dash", True),
        ("""'a\\'b' + "c\\n" + r'\\d'""", "a'bc\n\\d"),
        ("{'a': [1, 2]}['a'][1]", 2),
        ("self.none == null", True),
        ("1 < 2 && 'a' < 'b' && 2 >= 2.0", True),
        ("self.list.sum() == 6 && self.list.max() == 3", True),
        ("'%s of %d%%: %s'.format(['x', self.a, string(cidr(self.text))])", "x of 1%: 10.0.0.0/8"),
    ],
)
def test_expressions(rule, value):
    """Operators, macros and functions give what the language says."""
    found = evaluate(parse(rule), {"self": SELF})
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("rule", ["self.b", "self.a + 'x'", "self.list[7]", "self.a && true", "1 / 0", "int('x')"])
def test_errors_are_errors(rule):
    """What has no value is an error, never a guess."""
    with pytest.raises(CelError):
        evaluate(parse(rule), {"self": SELF})


@pytest.mark.parametrize("rule", ["", "self.", "1 +", "(1", "has(self)", "a b", "'open", "self.list.all(1, true)", "#"])
def test_what_cannot_be_read_is_refused(rule):
    """Broken text is a syntax error when the definition is made."""
    with pytest.raises(CelSyntaxError):
        parse(rule)


def test_rules_that_could_not_run_are_reported_by_place():
    """Each bad rule is a field error in the definition; good ones are none."""
    schema = {"x-kubernetes-validations": [{"rule": "self.a > 0"}, {"rule": "url(self.a).getHost() == ''"}]}
    (error,) = check_rules(schema, "s")
    assert error.field == "s.x-kubernetes-validations[1].rule"
    assert "no function" in error.detail


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ("'found ' + self", True),
        ("'found ' + self.find('[0-9]+')", True),
        ("string(size(self))", True),
        ("'found %s'.format([string(size(self))])", True),
        ("'found ' + string(size(self))", False),
        ("'found ' + string(cidr(self).masked()).trim()", False),
        ("'found %d'.format([size(self)]) + '!'", False),
        ("(self == '' ? 'nothing' : string(size(self))) + ' found'", False),
        ("string(int(self) + 1)", True),
        ("cidr(self).masked() == cidr(self) ? 'a' : 'b'", False),
        ("cidr(self).masked() in [cidr(self)] ? 'a' : 'b'", True),
        ("string(cidr(self)) == self ? 'a' : 'b'", True),
    ],
)
def test_values_without_known_size_may_not_be_joined_or_compared(message, fits):
    """As in a real API server, whose estimate of what that costs would have no end."""
    errors = check_rules({"x-kubernetes-validations": [{"rule": "true", "messageExpression": message}]}, "s")
    assert [error.field for error in errors] == ([] if fits else ["s.x-kubernetes-validations[0].messageExpression"])
    assert all("exceeds budget" in error.body for error in errors)
