"""x-kubernetes-validations: rules in CEL that objects of CRD kinds must hold.

``check_rules`` refuses, when a definition is made, every rule that this evaluator could not carry out, so that no rule
is ever passed over in silence; ``check`` runs them. The parts of the language here are those that validation rules use:
all operators and macros, strings, lists, regular expressions, IP addresses and CIDRs. Left out: durations, timestamps,
quantities, URLs, optionals, named formats.
Source: Kubernetes documentation, "Validation rules" and "Common Expression Language in Kubernetes"; cel-spec langdef.
"""

from .rules import KEYWORD, check, check_rules

__all__ = ["KEYWORD", "check", "check_rules"]
