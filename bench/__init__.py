"""How fast the house is, with everything on this machine: ``python -m bench``.

Processes: the five services, Postgres and NATS as ``make up`` runs them; a load
generator (`load`) and a sink for webhooks (`sink`).  Each row (`rows`) is measured
beside its ceilings (`ceilings`): what the bare parts would do on the same machine at
the same moment.  Rates differ from machine to machine, ratios hardly do.
"""
