"""Where an audit reads: one module for each source, giving the frozen values of :mod:`multinic_daemon.audit.world`.

``observe`` asks them in the order in which a daemon writes, journal before kernel, so that a link that has just been
made has its row already.
"""
