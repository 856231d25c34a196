"""Validation rules that the API server itself runs on an object, so that ``kubectl apply`` refuses it. In CEL.

A rule that fails answers with the value found and what would be accepted; the API server adds the field path. What
needs more than the object (other networks, nodes, plugins) is left to the webhook and the operator, which say it in the
same words. The address functions need Kubernetes 1.31.

Each expression stays far below the cost limit of 10 million units because every text and list that a rule reads has a
bound (``TEXT_LENGTH``, ``NETWORKS``, ``NETWORK_LENGTH``); the dearest one compares all pairs of ``NETWORKS`` networks.
The text of a number or of an address has no bound that the API server knows: a message that joins one by ``+`` costs
without end and makes the whole definition invalid, so such messages are made by ``format``, which counts its template.
For Kubernetes 1.31 the same goes for ``==`` between two networks, but not for ``in`` a list of one.
Source: Kubernetes documentation, "Validation rules", "Resource use by validation functions"; CEL in Kubernetes, IP and
CIDR libraries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KEYWORD = "x-kubernetes-validations"
TEXT_LENGTH = 32768
"""Most characters of ``spec.ipam``."""
NETWORK_LENGTH = 50
"""Most characters of one network in CIDR form."""
NETWORKS = 128
"""Most entries of ``spec.masterNets``."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One expression that must hold for a value, called ``self`` in it."""

    rule: str
    message: str
    """CEL expression that gives what to say; one line, no more than a few hundred characters."""
    otherwise: str
    """What to say when ``message`` cannot be evaluated."""
    field_path: str = ""
    """Field below ``self`` that the refusal names, such as ``.subnet``; "" for ``self``."""

    def to_json(self) -> dict[str, str]:
        found = {"rule": self.rule, "messageExpression": self.message, "message": self.otherwise}
        return found | ({"fieldPath": self.field_path} if self.field_path else {})


def checked(*rules: Rule, **keywords: Any) -> dict[str, Any]:
    """Further keywords of a field's schema: rules, and bounds that the API server keeps and our models do not.

    A model goes on reading an object that was stored before a bound was set.
    """
    return keywords | ({KEYWORD: [rule.to_json() for rule in rules]} if rules else {})


BUILT_IN = r"""matches(r'"type"\s*:\s*"multi-nic-ipam"')"""
"""Whether the text is the block of our own IPAM; of others the keys are theirs."""
NETWORK_RULES = (
    Rule(
        "self == '' || self.contains(',') || isCIDR(self)",
        "\"found '\" + self + \"', expected a network such as '192.168.0.0/16'\"",
        "expected a network such as '192.168.0.0/16'",
    ),
    Rule(
        "!isCIDR(self) || cidr(self).masked() in [cidr(self)]",
        "\"found '%s' with host bits set, expected '%s'\".format([self, string(cidr(self).masked())])",
        "found host bits set, expected the address of the network",
    ),
)
SUBNET_RULES = (
    *NETWORK_RULES,
    Rule(
        "!isCIDR(self) || ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '::/8', 'fe80::/10',"
        " 'ff00::/8'].all(r, !cidr(r).containsCIDR(self) && !cidr(self).containsCIDR(r))",
        '"found \'" + self + "\', which has addresses that no pod may hold (unspecified, loopback, link-local or'
        " multicast), expected a unicast network such as '192.168.0.0/16'\"",
        "expected a unicast network such as '192.168.0.0/16'",
    ),
)
MASTER_NETS_RULES = (
    Rule(
        "self.all(n, self.exists_one(m, m == n))",
        '"found \'" + self.filter(n, !self.exists_one(m, m == n))[0] + "\' a second time, expected each NIC network'
        ' once"',
        "expected each NIC network once",
    ),
)
ONE_LINE = r".replace('\r', '').replace('\n', ' ')"
"""Makes one line of a text; a message of several is not shown."""


def _number(key: str) -> Rule:
    number = r"([0-9]|[1-9][0-9]|1[01][0-9]|12[0-7])"
    return Rule(
        rf"""!self.{BUILT_IN} || !self.matches(r'"{key}"\s*:') || self.matches(r'"{key}"\s*:\s*{number}\s*[,}}]')""",
        rf"""'spec.ipam.{key}: found ' + self.find(r'"{key}"\s*:\s*[^,}}\n\r]*'){ONE_LINE} + ', expected a number of"""
        """ bits, 0 to 127'""",
        f"spec.ipam.{key}: expected a number of bits, 0 to 127",
    )


IPAM_RULES = (
    Rule(
        r"self.matches(r'^\s*(\{[\s\S]*\}\s*)?$')",
        """'found a text of %d characters, expected a JSON object such as {"type": "multi-nic-ipam", "hostBlock": 6,"""
        """ "interfaceBlock": 2}, or an empty text'.format([size(self)])""",
        "expected a JSON object, or an empty text",
    ),
    Rule(
        r"""!self.matches(r'^\s*\{') || self.matches(r'"type"\s*:\s*"[^"]+"')""",
        """'spec.ipam.type: found none, expected the name of an IPAM such as "multi-nic-ipam"'""",
        "spec.ipam.type: expected the name of an IPAM",
    ),
    _number("hostBlock"),
    _number("interfaceBlock"),
    Rule(
        rf"""!self.{BUILT_IN} || !self.matches(r'"vlanMode"\s*:')"""
        r""" || self.matches(r'"vlanMode"\s*:\s*"(l2|l3|l3s)?"')""",
        r"""'spec.ipam.vlanMode: found ' + self.find(r'"vlanMode"\s*:\s*[^,}\n\r]*')"""
        f"""{ONE_LINE} + ', expected "", "l2", "l3" or "l3s"'""",
        'spec.ipam.vlanMode: expected "", "l2", "l3" or "l3s"',
    ),
)


def _bits(key: str) -> str:
    """The number at this key of ``self.ipam``, 0 when it is absent."""
    return rf"""int('0' + self.ipam.find(r'"{key}"\s*:\s*[0-9]{{1,3}}').find('[0-9]+$'))"""


HOST, INTERFACE = _bits("hostBlock"), _bits("interfaceBlock")
BUILT_IN_SUBNET = f"self.ipam.{BUILT_IN} && has(self.subnet) && isCIDR(self.subnet)"
WIDTH = "(cidr(self.subnet).ip().family() == 4 ? 32 : 128)"
SPEC_RULES = (
    Rule(
        f"!self.ipam.{BUILT_IN} || !has(self.subnet) || !self.subnet.contains(',')",
        '"found \'" + self.subnet + "\', expected one subnet: address blocks of two families in one network are not'
        ' supported yet, make one network for each"',
        "expected one subnet: make one network for each address family",
        ".subnet",
    ),
    Rule(
        r"!has(self.multiNICIPAM) || !self.multiNICIPAM || self.ipam.matches(r'\{')",
        "'found true with an empty spec.ipam, expected an IPAM that gives one address per NIC such as"
        """ "multi-nic-ipam", or false'""",
        "found true with an empty spec.ipam, expected an IPAM that gives one address per NIC, or false",
        ".multiNICIPAM",
    ),
    Rule(
        f"!({BUILT_IN_SUBNET}) || cidr(self.subnet).prefixLength() + {INTERFACE} + {HOST} <= {WIDTH}",
        "'spec.ipam.hostBlock: found %s, but %s with interfaceBlock %s has only %s bits for both, expected a larger"
        f" subnet or smaller blocks'.format([string({HOST}), self.subnet, string({INTERFACE}),"
        f" string({WIDTH} - cidr(self.subnet).prefixLength())])",
        "spec.ipam.hostBlock: expected a larger subnet or smaller blocks",
        ".ipam",
    ),
    Rule(
        f"!({BUILT_IN_SUBNET}) || !has(self.masterNets) || {INTERFACE} > 6 || self.masterNets.size() <="
        f" [1, 2, 4, 8, 16, 32, 64][{INTERFACE}]",
        "'found %d networks, expected no more than spec.ipam.interfaceBlock %d can number; raise interfaceBlock or"
        f" leave networks out'.format([self.masterNets.size(), {INTERFACE}])",
        "expected no more networks than spec.ipam.interfaceBlock can number",
        ".masterNets",
    ),
    Rule(
        f"!({BUILT_IN_SUBNET}) || !has(self.masterNets) || self.masterNets.all(n, !isCIDR(n) ||"
        " (!cidr(n).containsCIDR(self.subnet) && !cidr(self.subnet).containsCIDR(n)))",
        '"found \'" + self.subnet + "\', which overlaps \'" + self.masterNets.filter(n, isCIDR(n) &&'
        " (cidr(n).containsCIDR(self.subnet) || cidr(self.subnet).containsCIDR(n)))[0] + \"' of spec.masterNets,"
        " expected a subnet apart from the NICs' own, or none to cut those\"",
        "expected a subnet apart from spec.masterNets, or none to cut those",
        ".subnet",
    ),
    Rule(
        rf"""!self.ipam.{BUILT_IN} || !self.ipam.matches(r'"vlanMode"\s*:\s*"l3s?"') ||"""
        " (has(self.subnet) && self.subnet != '')",
        "\"found '', expected a subnet, as host routes of spec.ipam.vlanMode l3 and l3s tell pods' traffic by it\"",
        "found '', expected a subnet, as host routes of spec.ipam.vlanMode l3 and l3s tell pods' traffic by it",
        ".subnet",
    ),
)
"""Of the whole spec."""
NAMESERVER_RULES = (
    Rule("isIP(self)", "\"found '\" + self + \"', expected an address such as '10.96.0.10'\"", "expected an address"),
)
