"""All SQL: a subject is a ``.sql`` file, and a ``.py`` with one function a statement.

A function takes a connection, keyword-only arguments and nothing else; the caller
owns the transaction.  Every move of a job between places is one statement, and
stands here:

``jobs``           into the house: create; and reading
``claims``         ready → leased
``settlement``     leased → finished, scheduled, dead, ready
``leases``         kept alive, or recovered: leased → ready, dead
``timers``         scheduled → ready, and what expired → finished
``interventions``  by hand: cancel, requeue, purge
``lines``          held → ready, scheduled: whose turn it is

A move is a transaction of its own: two in one could be announced before what happened
to the job between them.

Statements that touch several rows by key are given their keys in order, so that two
of them meet in the same order and never in a deadlock.
"""
