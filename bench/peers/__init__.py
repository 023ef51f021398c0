"""Bellhop beside other queues: ``python -m bench.peers``, or ``make bench-peers``.

Rows of `bench` are measured for each peer (`roster`) too, on the same Postgres, with
the same jobs and the same sink, minutes apart.  A peer lives in an environment of its
own (`environments`) and is spoken to through an adapter, a program of its own language
that does what a plan says (`adapter`, and ``node/adapter.mjs``).  What runs there is
imported from nowhere else: it has the peer's packages, and not ours.
"""
