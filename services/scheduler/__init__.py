"""The scheduler service: what is due, what was dropped, what is to be announced.

Hears      ``JournalGrew``
Says       ``LanesReady``, ``JournalGrew``, ``JobChanged``
Reads      ``journal``, ``scheduled``, ``expiries``, ``leases``
Writes     ``ready`` and ``finished`` from ``scheduled`` and ``expiries``; what becomes
           of workers' leases that ran out; partitions; how far the journal is announced
Never      hands out a job, or promises to be the only one: every duty may be done twice
"""
