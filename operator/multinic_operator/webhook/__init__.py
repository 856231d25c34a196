"""The validating webhook: the API server asks here before it stores a network, so that ``kubectl apply`` says no.

``judging`` asks the same pure validation as the operator, ``review`` speaks the API server's language, ``server``
answers over TLS, ``certificates`` makes certificates and knows when they are due, ``keeping`` has them in a Secret that
all replicas share and their authority in the webhook's configuration. The configuration fails open: while nobody
answers, networks are stored and the operator refuses them in their status.
"""

from multinic_operator.webhook.serve import CONFIGURATION, SERVICE, serve_webhook

__all__ = ["CONFIGURATION", "SERVICE", "serve_webhook"]
