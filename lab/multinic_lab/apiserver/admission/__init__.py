"""Validating webhooks: who is asked before a write, how, and what an answer means.

``matching`` chooses the webhooks that a write concerns, ``calls`` reaches one over TLS with the authority that its
configuration trusts, ``chain`` asks all of them at once and refuses the write when one does. Left out: mutating
webhooks, admission policies, deletions of whole collections, ``matchPolicy`` (versions are compared as written).
Source: Kubernetes documentation, "Dynamic Admission Control".
"""

from .chain import Admission

__all__ = ["Admission"]
