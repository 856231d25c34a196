"""``multinic audit``: whether journal, kernel, sandboxes, pods and mirror of this node say the same.

Each source is read by one module (:mod:`.sources`) into frozen values (:mod:`.world`). Comparing them is pure
(:mod:`.judge` and the modules it calls) and gives one :class:`.findings.Finding` per attachment and per thing that is
somewhere only. Attachments come and go while this looks, so a difference counts only when two looks, a short moment
apart, both show it (:mod:`.looks`). :mod:`.repair` asks the running daemon to free what is proven dead, and nothing
else here changes anything.
"""
