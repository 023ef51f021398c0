"""A house under load while faults fall, and whether it kept its promises.

``python -m tests.chaos --help``.  A run has three parts::

    plan ──▶ faults ─┐
                     ├─▶ the house: replicas of the five services, a Postgres, a NATS
    load  ───────────┘        │
      └──▶ history ◀──────────┘ (what clients, receivers and watchers saw)
              └──▶ rules: pure functions over the history and the tables ──▶ report

The plan, and what the load does by chance, come from the seed.
"""
